"""Writers, gates and the loop, over a knowledge base of nine concepts and over DOID."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen import Context, Failure, NamesWriter, Surroundings, TemplateWriter, generate_documents, reparse, run, shared_short_forms
from data_gen.branches import all_branches, branches_of
from data_gen.chat import ChatWriter, Reply, Sampling
from data_gen.gates import bracket, control, mention_absent, mention_empty, mention_is_other_concept, reason_against, template_judge, too_long
from data_gen.prompts import PromptSettings
from data_gen.writer import Related
from syncabel.corpora import read_jsonl
from syncabel.errors import ConfigError, FormatError, IncompleteFolderError, UnknownNameError
from syncabel.kb import About, KnowledgeBase
from syncabel.prompt import PromptFormat, from_document, prompt_text
from syncabel.text import fold
from syncabel.types import Concept, Document, Mention, Name, Rejection, Span, from_json

ROWS = {
    "DOID:4": ("disease", (), ()),
    "DOID:114": ("heart disease", (), ("DOID:4",)),
    "DOID:331": ("central nervous system disease", (), ("DOID:4",)),
    "T:1": ("mitral stenosis", ("mitral valve narrowing", "stenosis of the mitral valve"), ("DOID:114",)),
    "T:2": ("multiple sclerosis", ("MS", "disseminated sclerosis"), ("DOID:331",)),
    "T:3": ("dilated cardiomyopathy", ("congestive cardiomyopathy",), ("DOID:114",)),
    "T:4": ("dilated cardiomyopathy 1A", (), ("T:3",)),
    "T:5": ("odd [bracketed] disease", (), ("DOID:4",)),
    "T:6": ("quux", (), ()),
}


def _concept(code, row):
    name, synonyms, parents = row
    names = (Name(name, preferred=True), *(Name(synonym) for synonym in synonyms))
    return Concept(code, names, ("Disease",), parents=parents)


@pytest.fixture(scope="module")
def kb():
    concepts = [_concept(code, row) for code, row in ROWS.items()]
    return KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True))


@pytest.fixture(scope="module")
def doid():
    return KnowledgeBase.load("doid")


def _documents(rows):
    return [row for row in rows if isinstance(row, Document)]


def _answers(writer, kb, code, n, first=0):
    return list(writer.answers(writer.requests(kb.concept(code), Context(), n, 3, first)))


class Prompted:
    """A `ChatEngine` that writes one sentence with the name it was told."""

    name, model, version, local, sampling = "prompted", "p-1", "prompted 1", True, Sampling()

    @property
    def settings(self):
        return {}

    def replies(self, calls):
        for call in calls:
            found = re.search(r'\{"concept": \{"name": "([^"]*)"', call.messages[-1].content)[1]
            yield Reply(call.key, json.dumps({"sentences": [{"mention": found, "sentence": f"Number {call.seed}: [{found}] was seen."}]}), finish="stop")


TEMPLATES = {"template": TemplateWriter(), "template-train": TemplateWriter(frames="train"), "template-test": TemplateWriter(frames="test")}
WRITERS = {**TEMPLATES, "names": NamesWriter(), "chat": ChatWriter(Prompted(), PromptSettings(per_request=1))}


# Every writer keeps this contract; a further one is a further row.
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
class TestWriterContract:
    def test_it_answers_every_request_each_with_its_own_seed(self, writer, kb):
        answers = _answers(writer, kb, "T:1", 9)
        assert [answer.number for answer in answers] == list(range(9))
        assert len({answer.seed for answer in answers}) == len(answers) == writer.calls(9)

    def test_request_i_does_not_depend_on_how_many_there_are(self, writer, kb):
        assert _answers(writer, kb, "T:1", 9)[:4] == _answers(writer, kb, "T:1", 4)
        assert _answers(writer, kb, "T:1", 9)[4:] == _answers(writer, kb, "T:1", 5, first=4)

    def test_requests_are_drawn_as_they_are_needed(self, writer, kb):
        requests = iter(writer.requests(kb.concept("T:1"), Context(), 9, 3))
        next(writer.answers(requests))
        assert len(list(requests)) >= 7

    def test_every_document_is_synthetic_with_one_mention_and_its_provenance(self, writer, kb):
        rows = list(generate_documents(kb, writer, per_concept=20, seed=1, codes=["T:1", "T:6"]))
        assert all(document.source == "synthetic" for document in _documents(rows))
        for document in _documents(rows):
            (mention,) = document.mentions
            assert document.text[mention.start : mention.end] == mention.text
            assert mention.type == "Disease"
            assert mention.answers == ((document.provenance.concept,),)
            assert (document.provenance.writer, document.provenance.kb_digest) == (writer.name, kb.digest)
        assert len({row.id for row in _documents(rows)}) == len(_documents(rows))

    def test_a_name_to_be_avoided_is_written_by_nobody(self, writer, kb):
        rows = list(generate_documents(kb, writer, per_concept=3, seed=0, codes=["T:6"], exclude_names={("T:6", "quux")}))
        assert rows
        assert not _documents(rows)

    def test_its_digest_is_stable(self, writer, kb):
        assert writer.digest == replace(writer).digest
        assert len(writer.digest) == 64


@pytest.mark.parametrize("writer", TEMPLATES.values(), ids=TEMPLATES)
class TestTemplateWriter:
    def test_another_seed_writes_other_sentences(self, writer, kb):
        one, other = ({d.text for d in _documents(generate_documents(kb, writer, per_concept=20, seed=seed, codes=["T:1"]))} for seed in (1, 2))
        assert len(one & other) < 10

    def test_a_concept_whose_names_are_all_held_out_is_rejected_with_a_reason(self, writer, kb):
        rows = list(generate_documents(kb, writer, per_concept=3, seed=0, codes=["T:6"], exclude_names={("T:6", "quux")}))
        assert [row.reason for row in rows] == ["no_usable_name"] * 3


def test_kept_and_rejected_sum_to_generated(kb):
    rows = list(generate_documents(kb, TemplateWriter(), per_concept=50, seed=0))
    assert len(rows) == 50 * len(kb)
    reasons = {row.reason for row in rows if isinstance(row, Rejection)}
    assert "duplicate" in reasons


def test_a_subset_of_concepts_gets_the_same_rows(kb):
    alone = list(generate_documents(kb, TemplateWriter(), per_concept=10, seed=0, codes=["T:3"]))
    among = [row for row in generate_documents(kb, TemplateWriter(), per_concept=10, seed=0) if "-T:3-" in (row.id if isinstance(row, Document) else row.where)]
    assert alone == among


def test_sentences_do_not_depend_on_the_hash_seed_of_the_process(kb, tmp_path):
    kb.save(tmp_path / "kb")
    code = (
        "import sys; from syncabel.kb import About, KnowledgeBase; from data_gen import *; "
        "print([getattr(d, 'text', d) for d in generate_documents(KnowledgeBase.load(sys.argv[1]), TemplateWriter(), per_concept=20, seed=0)])"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code, tmp_path / "kb"], env=_env(PYTHONHASHSEED=seed), capture_output=True, check=True).stdout for seed in "12"
    }
    assert len(outputs) == 1


def test_excluded_names_are_never_mentioned_defined_or_changed_into_mentions(kb):
    held_out = {("T:1", "mitral valve narrowing"), ("T:2", "ms"), ("T:2", "disseminated sclerosis")}
    rows = list(
        generate_documents(kb, TemplateWriter(), per_concept=600, seed=0, codes=["T:1", "T:2"], exclude_names=held_out, short_forms={"MS": ("T:1", "T:2")})
    )
    for document in _documents(rows):
        (code,) = document.mentions[0].codes
        assert (code, fold(document.mentions[0].text)) not in held_out
        assert not any(owner == code and re.search(rf"\b{name}\b", fold(document.text)) for owner, name in held_out)
        assert not re.search(r"narrow|dissem", document.mentions[0].text)


def test_mentions_are_varied(kb):
    mentions = {d.mentions[0].text for d in _documents(generate_documents(kb, TemplateWriter(), per_concept=200, seed=0, codes=["T:3"]))}
    assert {"dilated cardiomyopathy", "congestive cardiomyopathies", "cardiomyopathy, dilated", "DC"} <= mentions
    assert len(mentions) > 40


def test_a_defined_short_form_is_annotated_with_its_long_form(kb):
    documents = _documents(generate_documents(kb, TemplateWriter(), per_concept=200, seed=0, codes=["T:3"]))
    defined = [d for d in documents if d.abbreviations]
    assert defined
    assert {d.long_form(d.mentions[0].text).lower() for d in defined} <= {"dilated cardiomyopathy", "congestive cardiomyopathy"}
    for document in defined:
        assert document.mentions[0].start > document.abbreviations[0].short.end


def test_the_preferred_name_alone_is_written_as_it_is_where_that_is_asked_for(kb):
    plain = TemplateWriter(short_form_share=0, unchanged_share=1, defined_share=0, names="preferred")
    shared = {"MS": ("T:1", "T:2")}
    made = _documents(generate_documents(kb, plain, per_concept=60, seed=0, codes=["T:1", "T:2"], short_forms=shared))
    assert {document.mentions[0].text.lower() for document in made} == {"mitral stenosis", "multiple sclerosis"}
    assert not any(document.abbreviations for document in made)
    assert len({document.text for document in made}) > 60
    held_out = [("T:1", "mitral stenosis")]
    others = _documents(generate_documents(kb, plain, per_concept=20, seed=0, codes=["T:1"], exclude_names=held_out))
    assert {document.mentions[0].text.lower() for document in others} == {"mitral valve narrowing", "stenosis of the mitral valve"}


def test_options_of_templates_are_checked_and_each_has_a_digest_of_its_own():
    writers = [TemplateWriter(), TemplateWriter("train"), *(TemplateWriter(**{name: 0.5}) for name in ("short_form_share", "unchanged_share", "defined_share"))]
    assert len({writer.digest for writer in (*writers, TemplateWriter(names="preferred"))}) == 6
    with pytest.raises(ConfigError, match=r"unchanged_share is 1\.5; it is a fraction, give 0 to 1"):
        TemplateWriter(unchanged_share=1.5)
    with pytest.raises(UnknownNameError, match="unknown names 'prefered'; did you mean 'preferred'"):
        TemplateWriter(names="prefered")


@pytest.mark.parametrize("code", ["T:1", "T:5", "T:6"])  # with parents and branch, with brackets, with neither
def test_a_sentence_with_a_chosen_mention_has_it_as_it_is_and_no_definition(kb, code):
    writer, concept, surroundings = TemplateWriter(), kb.concept(code), Surroundings(kb)
    requests = writer.requests(concept, surroundings.of(concept), 300, 0)
    made = [row for request in requests for row in writer.parse(writer.sentence_with("a narrow VALVE (II)", request), concept, request.context)]
    assert {document.mentions[0].text for document in _documents(made)} == {"a narrow VALVE (II)", "A narrow VALVE (II)"}
    assert len(_documents(made)) == 300
    assert not any(document.abbreviations for document in made)
    assert all(document.text[slice(*_ends(document))] == document.mentions[0].text for document in made)
    assert all(document.mentions[0].codes == (code,) for document in made)
    assert len({document.text for document in made}) > 10, "the frames differ"


def _ends(document):
    (span,) = document.mentions[0].spans
    return span.start, span.end


def test_a_shared_short_form_is_found_unless_it_is_shared_within_one_branch(kb):
    assert shared_short_forms(kb, kb.codes)["MS"] == ("T:1", "T:2")
    assert "MS" not in shared_short_forms(kb, ["T:1", "T:3"])
    assert "MS" not in shared_short_forms(kb, kb.codes, {("T:2", "ms")})


def test_the_words_around_a_shared_short_form_tell_its_branches_apart(kb):
    rows = _documents(generate_documents(kb, TemplateWriter(), per_concept=400, seed=0, codes=["T:1", "T:2"], short_forms={"MS": ("T:1", "T:2")}))
    phrases = {branch.name: {p for ps in branch.phrases.values() for p in ps} for branch in all_branches() if branch.name in ("heart", "brain")}
    assert not phrases["heart"] & phrases["brain"]
    bare = [d for d in rows if d.mentions[0].text == "MS" and not d.abbreviations]
    assert {d.mentions[0].codes for d in bare} == {("T:1",), ("T:2",)}
    for document in bare:
        own, other = ("heart", "brain") if document.mentions[0].codes == ("T:1",) else ("brain", "heart")
        # What the model reads: the sentence of the mention alone.
        read = prompt_text(from_document(document, document.mentions[0], (), PromptFormat())).lower()
        assert sum(phrase.lower() in read for phrase in phrases[own]) >= 2
        assert not any(phrase.lower() in read for phrase in phrases[other])


def test_train_and_test_frames_write_no_sentence_alike(kb):
    train, test = (
        {d.text for d in _documents(generate_documents(kb, TemplateWriter(frames=frames), per_concept=300, seed=0, codes=["T:6"]))}
        for frames in ("train", "test")
    )
    assert not {t for t in train if "(" not in t} & {t for t in test if "(" not in t}


def test_a_branch_is_the_nearest_by_code_else_by_the_words_of_a_name():
    assert branches_of([("X", "x"), ("DOID:5614", "eye disease"), ("DOID:863", "nervous system disease")]).leading.name == "eye"
    assert branches_of([("HP:1", "Abnormal pupil"), ("HP:2", "Abnormality of the eye")]).leading.name == "eye"
    assert branches_of([("X", "early onset quux")]).leading is None


def test_sixty_frames_or_more_in_four_registers():
    from data_gen.template import _frames

    frames = _frames("en", "all")
    assert len(frames) >= 60
    assert {"abstract", "note", "letter", "patient"} <= {frame.kind for frame in frames}
    assert all(sum(part == "M" for part in frame.parts[1::2]) == 1 for frame in frames)


def _judge(gate, text, mention, kb, code="T:1"):
    start = text.index(mention)
    document = Document("d", text, (Mention("m0", (Span(start, start + len(mention)),), mention, "Disease", ((code,),)),))
    return gate(document, kb.concept(code), kb)


def test_each_gate_refuses_what_it_is_for_and_nothing_else(kb):
    assert mention_absent(Document("d", "no mention"), kb.concept("T:1"), kb) == "mention_absent"
    assert _judge(mention_empty, "a -- b", "--", kb) == "mention_empty"
    assert _judge(too_long, "x " * 600 + "MS", "MS", kb) == "too_long"
    assert _judge(too_long, "y" * 151, "y" * 151, kb) == "too_long"
    assert _judge(bracket, "mitral [stenosis]", "mitral", kb) == "bracket"
    assert _judge(control, "mitral\x07 stenosis", "mitral", kb) == "control_character"
    assert _judge(control, "Title\nmitral stenosis", "mitral", kb) is None
    assert _judge(mention_is_other_concept, "no dilated cardiomyopathy here", "dilated cardiomyopathy", kb) == "mention_is_other_concept"
    assert _judge(mention_is_other_concept, "tight MS with a loud murmur", "MS", kb) is None
    assert _judge(reason_against, "She has mitral stenosis.", "mitral stenosis", kb) is None


def test_a_name_s_own_brackets_are_no_markup(kb):
    made = _documents(generate_documents(kb, TemplateWriter(), per_concept=20, seed=0, codes=["T:5"]))
    assert any("[bracketed]" in document.mentions[0].text for document in made)
    for text in ("Odd [Bracketed] disease.", "A disease, odd [bracketed]."):
        assert _judge(bracket, text, "isease", kb, "T:5") is None
    for text in ("odd [[bracketed] disease]{Disease}", "odd [bracketed] disease{Disease}", "odd [bracketed disease", "[odd] bracketed disease"):
        assert _judge(bracket, text, "isease", kb, "T:5") == "bracket"


def test_the_brackets_of_a_parent_s_name_may_stand_beside_its_child():
    concepts = [_concept("P:1", ("benz[a]anthracene tumor", (), ())), _concept("P:2", ("quux", (), ("P:1",)))]
    kb = KnowledgeBase.build(concepts, About(source="test", release="1", licence="CC0", redistributable=True))
    assert _judge(bracket, "quux, a benz[a]anthracene tumor", "quux", kb, "P:2") is None
    assert _judge(bracket, "a [benz[a]anthracene] tumor, quux", "quux", kb, "P:2") == "bracket"


def _files(folder: Path) -> dict[str, bytes]:
    """All but the report, which tells the time."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.json"}


def test_a_folder_holds_what_the_iterator_gives_and_adds_up(kb, tmp_path):
    manifest = run(kb, TemplateWriter(), tmp_path, per_concept=20, seed=0)
    rows = list(generate_documents(kb, TemplateWriter(), per_concept=20, seed=0))
    assert list(read_jsonl(tmp_path / "documents.jsonl").documents) == _documents(rows)
    rejected = [from_json(Rejection, json.loads(line)) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [row for row in rows if isinstance(row, Rejection)]
    assert manifest.generated == manifest.kept + manifest.rejected == 20 * len(kb) == len((tmp_path / "generation.jsonl").read_text().splitlines())
    assert sum(manifest.reasons.values()) == manifest.rejected
    assert set(_files(tmp_path)) == {"documents.jsonl", "rejected.jsonl", "generation.jsonl", "manifest.json"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["requested"], report["generated"], report["missing"]) == (20 * len(kb), 20 * len(kb), 0)
    assert report["kept"] + sum(report["rejected"].values()) == report["generated"]
    assert (report["writer"], report["concepts"]) == ("template", len(kb))


def test_a_finished_folder_is_left_as_it_is(kb, tmp_path):
    first = run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)
    before = _files(tmp_path)
    assert run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0) == first
    assert _files(tmp_path) == before


def test_other_settings_in_a_folder_are_refused_with_the_difference(kb, tmp_path):
    run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)
    with pytest.raises(ConfigError, match=r"seed 0 → 1.*give another folder"):
        run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=1)
    with pytest.raises(ConfigError, match="kb_digest"):
        run(kb.subset(["T:1", "T:2"]), TemplateWriter(), tmp_path, per_concept=2, seed=0, codes=["T:1"])


def test_a_mistake_before_the_first_answer_does_not_bind_the_folder(kb, tmp_path):
    with pytest.raises(_StopError):
        run(kb, _Stopping(TemplateWriter(), 0), tmp_path, per_concept=2, seed=7)
    assert run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0).missing == 0
    with pytest.raises(_StopError):
        run(kb, _Stopping(TemplateWriter(), 1), tmp_path / "two", per_concept=2, seed=7)
    with pytest.raises(ConfigError, match="seed 7 → 0"):
        run(kb, TemplateWriter(), tmp_path / "two", per_concept=2, seed=0)


def test_files_of_another_origin_are_not_overwritten(kb, tmp_path):
    (tmp_path / "documents.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match="not a folder of"):
        run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)
    assert (tmp_path / "documents.jsonl").read_text() == "mine\n"


def test_a_file_that_lost_rows_and_a_damaged_manifest_are_errors(kb, tmp_path):
    run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)
    whole = (tmp_path / "documents.jsonl").read_bytes()
    for other in (whole[:-5], whole + b"{}\n"):
        (tmp_path / "documents.jsonl").write_bytes(other)
        with pytest.raises(IncompleteFolderError, match="delete the folder"):
            run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        run(kb, TemplateWriter(), tmp_path, per_concept=2, seed=0)


def test_an_unknown_code_and_a_count_below_one_are_errors(kb):
    with pytest.raises(UnknownNameError, match="T:77"):
        list(generate_documents(kb, TemplateWriter(), per_concept=1, seed=0, codes=["T:77"]))
    with pytest.raises(ConfigError, match="per_concept"):
        list(generate_documents(kb, TemplateWriter(), per_concept=0, seed=0))


# A run that takes a while, in a process of its own, so that real signals can end it.
SLOW = textwrap.dedent("""
    import signal, sys, time
    from data_gen import TemplateWriter, run
    from syncabel.kb import About, KnowledgeBase
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children inherit that it is ignored
    kb = KnowledgeBase.load("doid")
    def slowly(codes):
        for code in codes:
            time.sleep(float(sys.argv[2]))
            yield code
    run(kb, TemplateWriter(), sys.argv[1], per_concept=4, seed=0, codes=kb.codes[:400], progress=slowly)
""")


def _env(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **more}


def _killed(folder: Path, sent: signal.Signals, after_bytes: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, folder, "0.01"], env=_env(), stderr=subprocess.DEVNULL)
    file = folder / "shards" / "0-000000.jsonl"
    deadline = time.monotonic() + 60
    while (not file.exists() or file.stat().st_size < after_bytes) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(sent)
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)  # Python drops an interrupt that comes while it runs a finaliser
    assert process.wait(timeout=30) != 0
    assert not (folder / "manifest.json").exists()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, doid):
    folder = tmp_path_factory.mktemp("whole")
    run(doid, TemplateWriter(), folder, per_concept=4, seed=0, codes=doid.codes[:400])
    return _files(folder)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_run_killed_twice_ends_byte_for_byte_as_an_uninterrupted_one(sent, uninterrupted, doid, tmp_path):
    size = len(uninterrupted["generation.jsonl"])
    for share in (0.2, 0.5):
        _killed(tmp_path, sent, int(size * share))
    run(doid, TemplateWriter(), tmp_path, per_concept=4, seed=0, codes=doid.codes[:400])
    assert _files(tmp_path) == uninterrupted


class _StopError(Exception):
    pass


def test_a_shard_torn_or_changed_at_any_byte_is_asked_again_and_nothing_else_is(kb, tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.generate.SHARD", 3)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(kb, TemplateWriter(), whole, per_concept=3, seed=0)

    def stopping(codes):
        yield from codes[:7]
        raise _StopError

    rng = random.Random(0)
    for _ in range(12):
        with pytest.raises(_StopError):
            run(kb, TemplateWriter(), torn, per_concept=3, seed=0, progress=stopping)
        shards = sorted((torn / "shards").glob("*-*.jsonl"))
        assert len(shards) == 3
        for path in shards:
            data = bytearray(path.read_bytes())
            if rng.random() < 0.5:
                del data[rng.randrange(len(data)) :]
            else:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data + b'{"code": "T:1", "numb'[: rng.randrange(22)])
        asked = _Counting(TemplateWriter())
        run(kb, asked, torn, per_concept=3, seed=0)
        assert 6 <= asked.requests_answered < 27
        assert _files(torn) == _files(whole)
        shutil.rmtree(torn)


class _Counting:
    """A writer that counts what it is asked."""

    def __init__(self, writer):
        self._writer, self.requests_answered = writer, 0

    def __getattr__(self, name):
        return getattr(self._writer, name)

    def answers(self, requests):
        for answer in self._writer.answers(requests):
            self.requests_answered += 1
            yield answer


def test_two_runs_at_once_in_one_folder_are_refused(kb, tmp_path):
    def meanwhile(codes):
        with pytest.raises(ConfigError, match="another run"):
            run(kb, TemplateWriter(), tmp_path, per_concept=1, seed=0)
        return codes

    run(kb, TemplateWriter(), tmp_path, per_concept=1, seed=0, progress=meanwhile)
    assert (tmp_path / "manifest.json").exists()


class _Failing(_Counting):
    """A writer that fails for some concepts, as a server does that has lost its way over one prompt."""

    def __init__(self, writer, poisoned):
        super().__init__(writer)
        self.poisoned = poisoned

    def answers(self, requests):
        for answer in super().answers(requests):
            yield Failure(answer.code, answer.number, "500 after 5 attempts") if answer.code in self.poisoned else answer


def test_what_fails_is_missing_the_rest_goes_on_and_a_later_run_asks_only_for_it(kb, tmp_path):
    whole = tmp_path / "whole"
    run(kb, TemplateWriter(), whole, per_concept=4, seed=0)
    failing = _Failing(TemplateWriter(), {"T:1", "T:3"})
    manifest = run(kb, failing, tmp_path / "out", per_concept=4, seed=0)
    assert (manifest.requested, manifest.missing, manifest.generated) == (36, 8, 28)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["missing"] == 8
    missing = [json.loads(line) for line in (tmp_path / "out" / "missing.jsonl").read_text().splitlines()]
    assert {(row["code"], row["number"]) for row in missing} == {(code, i) for code in ("T:1", "T:3") for i in range(4)}
    assert {row["error"] for row in missing} == {"500 after 5 attempts"}
    failing.poisoned, failing.requests_answered = {"T:3"}, 0
    assert run(kb, failing, tmp_path / "out", per_concept=4, seed=0).missing == 4
    assert failing.requests_answered == 8
    failing.poisoned = set()
    assert run(kb, failing, tmp_path / "out", per_concept=4, seed=0).missing == 0
    assert _files(tmp_path / "out") == _files(whole)


def test_a_writer_that_only_fails_is_not_asked_for_everything(kb, tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.generate.MOST_FAILURES", 5)
    failing = _Failing(TemplateWriter(), set(kb.codes))
    manifest = run(kb, failing, tmp_path, per_concept=4, seed=0)
    assert (manifest.missing, manifest.generated) == (36, 0)
    assert failing.requests_answered == 5


def test_what_failed_before_does_not_keep_others_from_being_asked(kb, tmp_path, monkeypatch):
    """Five failures in a row end the asking; in the next run the same five must not end it again."""
    monkeypatch.setattr("data_gen.generate.MOST_FAILURES", 5)
    failing = _Failing(TemplateWriter(), set(kb.codes[:3]))
    first = run(kb, failing, tmp_path, per_concept=4, seed=0)
    assert first.missing == 36
    second = run(kb, failing, tmp_path, per_concept=4, seed=0)
    third = run(kb, failing, tmp_path, per_concept=4, seed=0)
    assert 12 < second.missing <= 36
    assert third.missing == 12
    missing = [json.loads(line) for line in (tmp_path / "missing.jsonl").read_text().splitlines()]
    assert {row["code"] for row in missing} == set(kb.codes[:3])
    assert len(missing) == 12


def test_every_missing_request_is_listed_those_never_asked_too(kb, tmp_path, monkeypatch):
    monkeypatch.setattr("data_gen.generate.MOST_FAILURES", 5)
    run(kb, _Failing(TemplateWriter(), set(kb.codes)), tmp_path, per_concept=4, seed=0)
    missing = [json.loads(line) for line in (tmp_path / "missing.jsonl").read_text().splitlines()]
    assert len(missing) == 36
    assert Counter(row["error"] for row in missing) == {"500 after 5 attempts": 5, "not asked: too many failed before it": 31}


def test_a_kill_between_two_files_of_a_folder_with_missing_answers_loses_nothing(kb, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(kb, TemplateWriter(), whole, per_concept=4, seed=0)
    run(kb, _Failing(TemplateWriter(), {"T:1"}), out, per_concept=4, seed=0)
    (out / "documents.jsonl").write_bytes((whole / "documents.jsonl").read_bytes())  # new, and the manifest still old
    assert run(kb, TemplateWriter(), out, per_concept=4, seed=0).missing == 0
    assert _files(out) == _files(whole)


def test_reading_again_with_what_the_folder_was_not_made_with_is_refused(kb, tmp_path):
    run(kb, TemplateWriter(), tmp_path, per_concept=5, seed=0)
    with pytest.raises(ConfigError, match="per_concept 5 → 9"):
        reparse(kb, TemplateWriter(), tmp_path, per_concept=9, seed=0, surroundings=Surroundings(kb), gates=template_judge(kb))
    with pytest.raises(ConfigError, match="context_digest"):
        reparse(kb, TemplateWriter(), tmp_path, per_concept=5, seed=0, surroundings=Surroundings(kb, relatives=True), gates=template_judge(kb))


def test_half_a_surrogate_in_an_answer_is_kept_as_an_escape(kb, tmp_path):
    class Broken(_Counting):
        def answers(self, requests):
            for answer in super().answers(requests):
                yield replace(answer, answer=f"{answer.answer}\ud83d" if answer.answer else "")

    settings = {"per_concept": 3, "seed": 0, "codes": ["T:6"]}
    first = run(kb, Broken(NamesWriter()), tmp_path, **settings)
    assert first.reasons == {"control_character": 1, "no_more_names": 2}
    (tmp_path / "generation.jsonl").read_text(encoding="utf-8")
    again = reparse(kb, NamesWriter(), tmp_path, surroundings=Surroundings(kb), gates=template_judge(kb), **settings)
    assert (again.kept, again.reasons) == (first.kept, first.reasons)


def test_nothing_is_told_of_concepts_that_are_held_out(kb):
    held = frozenset({"DOID:114", "T:3"})
    around = Surroundings(kb, relatives=True, confusable={"T:1": (Related("T:3", "dilated cardiomyopathy"), Related("T:2", "MS"))}, held_out=held)
    for concept in kb.concepts():
        context = around.of(concept)
        told = {*context.siblings, *context.confusable, *context.namesakes}
        assert not held & ({other.code for other in told} | {code for code, _ in context.lineage if code != concept.code})
    assert around.of(kb.concept("T:1")).parents == ()
    assert around.of(kb.concept("T:1")).confusable == (Related("T:2", "MS"),)


def test_concepts_short_of_sentences_are_asked_for_more_in_further_rounds(kb, tmp_path):
    """With sixty sentences a concept, duplicates are refused; rounds fill them up as far as the frames reach."""
    first = run(kb, TemplateWriter(), tmp_path / "one", per_concept=60, seed=0, codes=["T:1", "T:6"])
    more = run(kb, TemplateWriter(), tmp_path / "more", per_concept=60, seed=0, codes=["T:1", "T:6"], rounds=3)
    assert first.rejected > 0
    assert more.requested > first.requested == 120
    assert more.kept > first.kept
    documents = read_jsonl(tmp_path / "more" / "documents.jsonl").documents
    assert len({d.id for d in documents}) == len(documents) == more.kept
    assert max(Counter(d.provenance.concept for d in documents).values()) <= 60


def test_rounds_that_were_interrupted_end_as_uninterrupted_ones(kb, tmp_path):
    settings = {"per_concept": 60, "seed": 0, "codes": ["T:1", "T:6"], "rounds": 3}
    run(kb, TemplateWriter(), tmp_path / "whole", **settings)
    for stop in (1, 50, 119, 121, 125):
        with pytest.raises(_StopError):
            run(kb, _Stopping(TemplateWriter(), stop), tmp_path / "out", **settings)
        run(kb, TemplateWriter(), tmp_path / "out", **settings)
        assert _files(tmp_path / "out") == _files(tmp_path / "whole")
        shutil.rmtree(tmp_path / "out")


class _Stopping(_Counting):
    def __init__(self, writer, after):
        super().__init__(writer)
        self._after = after

    def answers(self, requests):
        for answer in super().answers(requests):
            if self.requests_answered > self._after:
                raise _StopError
            yield answer


def test_stored_answers_are_parsed_again_without_a_writer_being_asked(kb, tmp_path):
    run(kb, TemplateWriter(), tmp_path, per_concept=5, seed=0)
    before = _files(tmp_path)
    (tmp_path / "documents.jsonl").write_text("")
    asked = _Counting(TemplateWriter())
    reparse(kb, asked, tmp_path, per_concept=5, seed=0, surroundings=Surroundings(kb), gates=template_judge(kb))
    assert asked.requests_answered == 0
    assert _files(tmp_path) == before
    (tmp_path / "shards").mkdir()  # what a kill leaves that comes when all is done
    assert run(kb, asked, tmp_path, per_concept=5, seed=0).kept
    assert not (tmp_path / "shards").exists()
    (tmp_path / "generation.jsonl").write_bytes(before["generation.jsonl"].replace(b"stenosis", b"stenoses"))
    with pytest.raises(IncompleteFolderError, match="was changed"):
        reparse(kb, asked, tmp_path, per_concept=5, seed=0, surroundings=Surroundings(kb), gates=template_judge(kb))


def test_the_names_writer_writes_each_name_once_and_says_when_there_are_no_more(kb, tmp_path):
    manifest = run(kb, NamesWriter(), tmp_path, per_concept=3, seed=0, codes=["T:1", "T:6"])
    assert [(d.text, d.mentions[0].text) for d in read_jsonl(tmp_path / "documents.jsonl")] == [
        *((name, name) for name in ("mitral stenosis", "mitral valve narrowing", "stenosis of the mitral valve")),
        ("quux", "quux"),
    ]
    assert manifest.reasons == {"no_more_names": 2}


def test_five_hundred_doid_concepts_times_sixty_take_seconds_and_nearly_all_are_kept(doid):
    codes = sorted(random.Random(0).sample(doid.codes, 500))
    begun = time.process_time()
    rows = list(generate_documents(doid, TemplateWriter(), per_concept=60, seed=0, codes=codes, short_forms=shared_short_forms(doid, codes)))
    assert time.process_time() - begun < 20  # about 2 s on an idle core
    assert len(rows) == 30_000
    assert len(_documents(rows)) > 28_500
    for document in _documents(rows)[::50]:
        assert document.mentions[0].text in document.text


def test_the_command_prints_counts_that_add_up(tmp_path):
    (tmp_path / "codes").write_text("DOID:9352\nDOID:1754\n")
    command = [sys.executable, "-c", CLI, "doid", "--codes", tmp_path / "codes", "--per-concept", "10", "-o", tmp_path / "out"]
    done = subprocess.run(command, env=_env(), capture_output=True, text=True, check=True)
    kept, rejected, generated = map(int, re.search(r"(\d+) kept \+ (\d+) rejected = (\d+) generated", done.stdout).groups())
    assert kept + rejected == generated == 20
    assert kept == len(read_jsonl(tmp_path / "out" / "documents.jsonl").documents)


CLI = "import typer; from syncabel.cli.generate import generate; typer.run(generate)"
