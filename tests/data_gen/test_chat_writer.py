"""The writer that asks a model, over an engine that answers by a rule: requests, answers in any order, documents, privacy."""

import json
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from queue import Queue

import pytest

from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.writer import ChatWriter, parse_generation
from data_gen.prompts import PromptSettings, draw_specs, prompt_digest
from data_gen.writer import Context, Failure, Generation, Related, Shot
from syncabel.errors import ConfigError
from syncabel.types import Abbreviation, Concept, Document, Name, Provenance, Rejection, Span, from_json, to_json

CONCEPT = Concept("D:1", (Name("mitral stenosis", preferred=True), Name("MS")), ("Disease", "Finding"), parents=("D:9",))
CONTEXT = Context(
    parents=("valve disease",),
    lineage=(("D:1", "mitral stenosis"), ("D:9", "valve disease")),
    siblings=(Related("D:2", "aortic stenosis"),),
    kb_digest="kb",
)
HELD_OUT = replace(CONTEXT, avoid=frozenset(["mitral stenosis", "ms"]))
CANARY = "zqxcanary"


def write_all(call: Call) -> str:
    """An answer as asked for: a sentence an entry, with the other concept where one is to be named."""
    content = call.messages[-1].content
    row, _ = json.JSONDecoder().raw_decode(content, content.index('{"concept"'))
    sentences = [
        {"mention": f"MS{each['number']}", "sentence": f"Sentence {call.seed % 1000} of [MS{each['number']}] and [{each.get('also', 'none')}]."}
        for each in row["sentences wanted"]
    ]
    return json.dumps({"sentences": sentences})


@dataclass
class RuleEngine:
    """Answers by a rule of the call, in a shuffled order, a few calls at a time."""

    rule: object = write_all
    local: bool = True
    name: str = "rule"
    model: str = "rule-1"
    version: str = "rule 1.0"
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.6, top_p=0.9))
    settings: dict[str, str] = field(default_factory=lambda: {"structured": "none", "schema": ""})
    seen: list[Call] = field(default_factory=list)

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        waiting: list[Call] = []
        rng = random.Random(0)
        for call in calls:
            self.seen.append(call)
            waiting.append(call)
            if len(waiting) > 3:
                yield self._reply(waiting.pop(rng.randrange(len(waiting))))
        yield from map(self._reply, waiting)

    def _reply(self, call: Call) -> Reply:
        text = self.rule(call)
        return Reply(call.key, text, finish="stop", prompt_tokens=7, completion_tokens=5) if text is not None else Reply(call.key, None, "no luck")


class ThreadedEngine(RuleEngine):
    """Draws the calls in a thread of its own, as engines with an event loop do."""

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        done: Queue[Reply | None] = Queue()

        def work() -> None:
            for call in calls:
                done.put(self._reply(call))
            done.put(None)

        thread = threading.Thread(target=work)
        thread.start()
        yield from iter(done.get, None)
        thread.join()


def answered(writer, requests):
    return sorted(writer.answers(requests), key=lambda each: each[:2] if isinstance(each, Failure) else each.key)


def documents(writer, n=6, seed=1, concept=CONCEPT, context=CONTEXT):
    generations = answered(writer, writer.requests(concept, context, n, seed))
    return [item for generation in generations for item in writer.parse(generation, concept, context)]


class TestRequests:
    @pytest.mark.parametrize(("n", "per_request", "calls"), [(1, 3, 1), (3, 3, 1), (4, 3, 2), (9, 3, 3), (5, 1, 5), (2, 5, 1), (0, 3, 0)])
    def test_there_are_as_many_as_it_takes(self, n, per_request, calls):
        writer = ChatWriter(RuleEngine(), PromptSettings(per_request=per_request))
        requests = writer.requests(CONCEPT, CONTEXT, n, 1)
        assert len(requests) == writer.calls(n) == calls
        assert all(request.sentences == per_request for request in requests)

    def test_request_i_depends_neither_on_n_nor_on_where_one_begins(self):
        writer = ChatWriter(RuleEngine())
        many = writer.requests(CONCEPT, CONTEXT, 12, 1)

        def plain(requests):
            return [(r.number, r.seed, r.messages, r.prompt_digest) for r in requests]

        assert plain(writer.requests(CONCEPT, CONTEXT, 4, 1)) == plain(many)[:2]
        assert plain(writer.requests(CONCEPT, CONTEXT, 5, 1, first=2)) == plain(many)[2:]
        assert len({r.prompt_digest for r in many}) == 4

    def test_the_digest_is_that_of_the_messages(self):
        (request,) = ChatWriter(RuleEngine()).requests(CONCEPT, CONTEXT, 1, 1)
        assert request.prompt_digest == prompt_digest(request.messages)

    def test_a_concept_whose_names_are_all_held_out_is_rejected_once_without_asking(self):
        engine = RuleEngine()
        writer = ChatWriter(engine)
        (request,) = writer.requests(CONCEPT, HELD_OUT, 9, 1)
        assert request.messages == ()
        (rejection,) = documents(writer, 9, context=HELD_OUT)
        assert (rejection.where, rejection.reason) == ("rule-1-D:1-0-0", "no_usable_name")
        assert engine.seen == []
        assert writer.requests(CONCEPT, HELD_OUT, 9, 1, first=1) == []


@pytest.mark.parametrize("engine", [RuleEngine, ThreadedEngine])
class TestAnswers:
    def test_every_request_gets_its_own_answer_in_whatever_order(self, engine):
        writer = ChatWriter(engine())
        requests = writer.requests(CONCEPT, CONTEXT, 30, 1)
        for request, generation in zip(requests, answered(writer, iter(requests)), strict=True):
            assert generation.key == request.key
            assert f"Sentence {request.seed % 1000} of" in generation.answer

    def test_a_generation_says_where_it_comes_from(self, engine):
        writer = ChatWriter(engine())
        (request,) = writer.requests(CONCEPT, CONTEXT, 1, 8)
        (generation,) = writer.answers([request])
        assert replace(generation, answer="") == Generation(
            "D:1",
            0,
            8,
            request.seed,
            "",
            request.prompt_digest,
            "rule-1",
            "rule 1.0; structured none",
            0.6,
            0.9,
            "kb",
            "stop",
            prompt_tokens=7,
            completion_tokens=5,
            sentences=3,
        )

    def test_what_the_engine_cannot_answer_is_a_failure_and_the_rest_goes_on(self, engine):
        poisoned = replace(CONCEPT, code="D:7")
        writer = ChatWriter(engine(lambda call: None if call.key[0] == "D:7" else "[]"))
        requests = [*writer.requests(CONCEPT, CONTEXT, 6, 1), *writer.requests(poisoned, CONTEXT, 6, 1)]
        found = answered(writer, requests)
        assert [each for each in found if isinstance(each, Failure)] == [Failure("D:7", 0, "no luck"), Failure("D:7", 1, "no luck")]
        assert [each.key for each in found if isinstance(each, Generation)] == [("D:1", 0), ("D:1", 1)]

    def test_requests_without_messages_are_answered_among_the_others(self, engine):
        writer = ChatWriter(engine())
        silent = [writer.requests(replace(CONCEPT, code=f"S:{i}"), HELD_OUT, 3, 1)[0] for i in range(5)]
        asked = writer.requests(CONCEPT, CONTEXT, 15, 1)
        found = list(writer.answers(request for pair in zip(silent, asked, strict=True) for request in pair))
        assert {each.key: bool(each.answer) for each in found} == {**{(f"S:{i}", 0): False for i in range(5)}, **{("D:1", i): True for i in range(5)}}


class TestTurns:
    """The style for small models: one sentence an answer, nothing but the sentence."""

    WRITER = PromptSettings(style="turns", per_request=1)

    @staticmethod
    def written(call: Call) -> str:
        return f"We saw {call.messages[-1].content.removeprefix('Term: ')} in nine of them.\nAnd this is chatter."

    def test_a_sentence_becomes_a_document_with_the_name_it_was_asked_for(self):
        found = documents(ChatWriter(RuleEngine(self.written), self.WRITER), 3)
        # "MS" is not shared in this context, so it has its turn.
        assert [(item.text, item.mentions[0].text) for item in found] == [
            (f"We saw {name} in nine of them.", name) for name in ("mitral stenosis", "MS", "mitral stenosis")
        ]
        assert all(item.mentions[0].answers == (("D:1",),) and item.provenance.engine == "rule 1.0; structured none" for item in found)

    def test_a_sentence_without_it_is_refused_with_the_sentence(self):
        (item,) = documents(ChatWriter(RuleEngine(lambda _: "We saw nothing."), self.WRITER), 1)
        assert (item.where, item.reason, item.text) == ("rule-1-D:1-0-0", "no_mention", "We saw nothing.")

    def test_an_answer_cut_off_keeps_its_whole_sentences(self):
        (request,) = ChatWriter(RuleEngine(), self.WRITER).requests(CONCEPT, CONTEXT, 1, 1)
        generation = Generation(*request.key, 1, request.seed, "It was mitral stenosis. The valve", finish="length")
        (item,) = parse_generation("rule", self.WRITER, generation, CONCEPT, CONTEXT)
        assert item.text == "It was mitral stenosis."

    @pytest.mark.parametrize(("concept", "context"), [(CONCEPT, HELD_OUT), (replace(CONCEPT, names=(Name("x" * 200, preferred=True),)), CONTEXT)])
    def test_a_concept_without_a_name_to_ask_for_is_not_asked_for(self, concept, context):
        engine = RuleEngine()
        (rejection,) = documents(ChatWriter(engine, self.WRITER), 2, concept=concept, context=context)
        assert rejection.reason == "no_usable_name"
        assert engine.seen == []


class SilentEngine(RuleEngine):
    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        list(calls)
        return iter(())


def test_a_request_that_the_engine_forgot_is_a_failure():
    writer = ChatWriter(SilentEngine())
    (failure,) = writer.answers(writer.requests(CONCEPT, CONTEXT, 1, 1))
    assert failure[:2] == ("D:1", 0)


def test_requests_are_drawn_as_they_are_needed():
    writer = ChatWriter(RuleEngine())
    drawn = []

    def requests():
        for request in writer.requests(CONCEPT, CONTEXT, 300, 1):
            drawn.append(request.number)
            yield request

    answers = writer.answers(requests())
    for _ in range(5):
        next(answers)
    assert len(drawn) < 12


class TestParse:
    def test_documents_are_synthetic_in_the_language_with_their_provenance(self):
        writer = ChatWriter(RuleEngine())
        requests = writer.requests(CONCEPT, CONTEXT, 6, 1)
        found = documents(writer)
        assert [each.id for each in found] == [f"rule-1-D:1-{number}-{i}" for number in (0, 1) for i in range(3)]
        for document, request in zip(found, [requests[0]] * 3 + [requests[1]] * 3, strict=True):
            assert (document.source, document.language, document.split) == ("synthetic", "en", None)
            assert document.provenance == Provenance("D:1", "rule", "rule-1", request.seed, request.prompt_digest, "kb", "rule 1.0; structured none", 0.6, 0.9)
            mention = document.mentions[0]
            assert (mention.id, mention.type, mention.answers) == ("m0", "Disease", (("D:1",),))

    def test_the_other_concept_asked_for_is_a_further_mention(self):
        writer = ChatWriter(RuleEngine(), PromptSettings(several=1, contrast=0, defined=0, negated=0))
        for document in documents(writer, 12):
            assert [mention.answers for mention in document.mentions][1:] in ([(("D:2",),)], [(("D:9",),)])
            assert document.mentions[1].text in ("aortic stenosis", "valve disease")
            assert "[" not in document.text

    def test_an_abbreviation_defined_before_is_annotated(self):
        text = "Mitral stenosis (MS) narrows the valve. Echo confirmed [MS] in both."
        writer = ChatWriter(RuleEngine(lambda call: json.dumps([{"mention": "MS", "sentence": text}])))
        (document,) = documents(writer, 1)
        assert document.abbreviations == (Abbreviation(Span(17, 19), Span(0, 15)),)
        assert document.long_form(document.mentions[0].text) == "Mitral stenosis"

    def test_every_item_is_a_document_or_a_rejection_with_its_number(self):
        texts = ["Echo: [MS].", "Echo.", "Echo: [mitral stenosis]."]
        writer = ChatWriter(RuleEngine(lambda call: json.dumps({"sentences": texts})))
        found = documents(writer, 1, context=replace(CONTEXT, avoid=frozenset(["mitral stenosis"])))
        assert [type(each) for each in found] == [Document, Rejection, Rejection]
        assert [(each.where, each.reason) for each in found[1:]] == [("rule-1-D:1-0-1", "no_mention"), ("rule-1-D:1-0-2", "avoided_name")]

    @pytest.mark.parametrize(("answer", "reason"), [("", "empty"), ("sorry", "structure")])
    def test_an_answer_without_items_is_one_rejection(self, answer, reason):
        (rejection,) = documents(ChatWriter(RuleEngine(lambda call: answer)), 1)
        assert (rejection.reason, rejection.code) == (reason, "D:1")

    def test_a_stored_answer_is_read_again_without_an_engine(self):
        writer = ChatWriter(RuleEngine(), PromptSettings(several=1, contrast=0, defined=0, negated=0))
        for generation in writer.answers(writer.requests(CONCEPT, CONTEXT, 9, 1)):
            stored = from_json(Generation, json.loads(json.dumps(to_json(generation))))
            assert parse_generation("rule", writer.settings, stored, CONCEPT, CONTEXT) == writer.parse(generation, CONCEPT, CONTEXT)

    def test_documents_survive_the_file_format(self):
        for document in documents(ChatWriter(RuleEngine())):
            assert from_json(Document, json.loads(json.dumps(to_json(document)))) == document


class TestDigest:
    @pytest.mark.parametrize(
        "other",
        [
            ChatWriter(RuleEngine(), PromptSettings(language="fr")),
            ChatWriter(RuleEngine(), PromptSettings(per_request=4)),
            ChatWriter(RuleEngine(), PromptSettings(negated=0.2)),
            ChatWriter(RuleEngine(model="rule-2")),
            ChatWriter(RuleEngine(sampling=Sampling(temperature=0.1))),
        ],
        ids=["language", "sentences", "share", "model", "sampling"],
    )
    def test_it_covers_all_that_decides(self, other):
        assert ChatWriter(RuleEngine()).digest == ChatWriter(RuleEngine()).digest != other.digest


class TestPrivacy:
    PRIVATE = replace(CONTEXT, shots=(Shot(f"The patient {CANARY} came with fever and a {CANARY} rash.", Span(33, 38)),))

    def test_style_examples_of_a_private_corpus_are_in_no_message_for_an_engine_elsewhere(self):
        engine = RuleEngine(local=False)
        writer = ChatWriter(engine)
        with pytest.raises(ConfigError, match="shareable") as error:
            list(writer.answers(writer.requests(CONCEPT, self.PRIVATE, 3, 1)))
        assert CANARY not in str(error.value)
        list(writer.answers(writer.requests(CONCEPT, CONTEXT, 3, 1)))
        assert engine.seen
        assert CANARY not in str(engine.seen)

    @pytest.mark.parametrize(("local", "shareable"), [(True, False), (False, True)])
    def test_otherwise_they_are_shown(self, local, shareable):
        (request,) = ChatWriter(RuleEngine(local=local), shareable=shareable).requests(CONCEPT, self.PRIVATE, 1, 1)
        assert CANARY in request.messages[1].content


def test_several_concepts_are_asked_for_in_the_share_set():
    specs = [spec for seed in range(500) for spec in draw_specs(CONCEPT, CONTEXT, PromptSettings(several=0.5, contrast=0), seed)]
    assert sum(spec.option == "several" for spec in specs) / len(specs) == pytest.approx(0.5, abs=0.05)
