"""A tiny real model end to end: calibrate, link with thresholds and sets, refuse what it was not measured with, publish and load."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncabel.calibration.store import CALIBRATION, SEEN_FILE, Calibration, weights_digest
from syncabel.corpora import part_of_dev
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, DigestMismatchError, FormatError, IncompleteFolderError
from syncabel.evaluate import aligned, read_linked
from syncabel.export import export_model
from syncabel.export.card import Facts
from syncabel.linker import Linker
from syncabel.prompt import PromptFormat
from syncabel.types import Document, Mention, Span, to_json

WORDS = ("cold", "angina", "MS", "stenocardia", "heart disease", "sclerosis", "coryza", "cardiac pain")
PLACES = ("The ward saw", "At night came", "No sign of", "Her mother had", "Treated for", "Ruled out was", "In 1997 there was")


def documents(count: int) -> list[Document]:
    """Four mentions each in sentences that differ."""
    made = []
    for i in range(count):
        text, mentions = "", []
        for j in range(4):
            word = WORDS[(i * 3 + j * 5) % len(WORDS)]
            text += f"{PLACES[(i + 2 * j) % len(PLACES)]} "
            mentions.append(Mention(str(j), (Span(len(text), len(text) + len(word)),), word, "Disease", (("A:7",),)))
            text += f"{word} in case {i}. "
        made.append(Document(f"d{i}", text, tuple(mentions)))
    return made


def write(path: Path, items: list[Any]) -> Path:
    path.write_text("".join(json.dumps(to_json(item)) + "\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(tiny_tokenizer: Any, tiny_llama: Any, small_kb: Any, small_lexicon: Any, tmp_path_factory: Any) -> Path:
    base = tmp_path_factory.mktemp("calibrated")
    small_lexicon.save(base / "lexicon")
    small_kb.save(base / "kb")
    facts = Facts("test", "random", licence="apache-2.0")
    return export_model(tiny_llama(len(tiny_tokenizer), scale=2.0), tiny_tokenizer, base / "lexicon", base / "model", PromptFormat(), facts)


@pytest.fixture(scope="module")
def dev(exported: Path) -> list[Document]:
    """Documents whose gold is what the model says wherever it has more than the median mass, so that there is something to learn."""
    bare = documents(40)
    linked = list(Linker.from_pretrained(exported, DecodingSettings(num_beams=3), "cpu").link(bare))
    middle = sorted(result.predictions[0].mass for result in linked)[len(linked) // 2]
    found = {(r.document_id, r.mention_id): r.predictions[0 if r.predictions[0].mass > middle else 1].codes for r in linked}
    return [replace(d, mentions=tuple(replace(m, answers=(found[d.id, m.id],)) for m in d.mentions)) for d in bare]


def run(*arguments: str | Path) -> Any:
    from syncabel.cli.app import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def calibrated(exported: Path, dev: list[Document], tmp_path_factory: Any) -> Path:
    """A copy of the model that the command has calibrated, its output beside it."""
    folder = tmp_path_factory.mktemp("done")
    shutil.copytree(exported, folder / "model")
    train = write(folder / "train.jsonl", [Document("t", "A cold.", (Mention("0", (Span(2, 6),), "Cold".lower(), "Disease", (("A:5",),)),))])
    path = write(folder / "dev.jsonl", dev)
    common = ("--kb", exported.parent / "kb", "--train", train, "--part", "all", "--num-beams", "3", "--device", "cpu")
    done = run("calibrate", folder / "model", path, *common, "--json")
    assert done.exit_code == 0, done.output
    (folder / "out.json").write_text(done.stdout)
    return folder


def link(folder: Path, *arguments: str | Path) -> Any:
    return run("link", "--model", folder / "model", "--device", "cpu", "--num-beams", "3", folder / "dev.jsonl", *arguments)


def rows(done: Any) -> list[dict[str, Any]]:
    assert done.exit_code == 0, (done.output, done.exception)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_says_what_calibrating_changed_on_documents_it_was_not_fitted_on(calibrated: Path) -> None:
    said = json.loads((calibrated / "out.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert (said["fit"]["documents"], said["fit"]["mentions"], said["fit"]["folds"]) == (40, 160, 5)
    assert said["before"]["source"] == "mass"
    assert said["after"]["brier"] < said["before"]["brier"]
    assert min(said["fit"]["logistic"]["brier"], said["fit"]["isotonic"]["brier"]) == said["after"]["brier"]


def test_every_linked_mention_carries_the_confidence_of_its_first_answer(calibrated: Path) -> None:
    predictions = [row["predictions"] for row in rows(link(calibrated))]
    assert all(0 < answers[0]["confidence"] < 1 for answers in predictions)
    assert all("confidence" not in answer for answers in predictions for answer in answers[1:])


def test_an_answer_under_the_threshold_is_held_back_with_the_reason(calibrated: Path) -> None:
    plain, held = rows(link(calibrated)), rows(link(calibrated, "--min-confidence", "0.5"))
    for whole, row in zip(plain, held, strict=True):
        if whole["predictions"][0]["confidence"] < 0.5:
            assert row["predictions"] == []
            assert row["abstained"] == f"confidence {whole['predictions'][0]['confidence']:.3f} is under 0.500"
            assert row["alternatives"] == whole["predictions"]
        else:
            assert row == whole
    assert 0 < sum("abstained" in row for row in held) < len(held)


def test_what_was_held_back_is_read_again(calibrated: Path, dev: list[Document], tmp_path: Path) -> None:
    done = link(calibrated, "--min-confidence", "0.5")
    (tmp_path / "p.jsonl").write_text(done.stdout)
    read = aligned(dev, read_linked(tmp_path / "p.jsonl"))
    assert len(read) == 160
    assert all(bool(result.predictions) == (result.abstained is None) == (not result.alternatives) for result in read.values())


def test_a_target_precision_is_reached_or_refused_with_the_best_there_is(calibrated: Path, dev: list[Document]) -> None:
    gold = {(d.id, m.id): m.answers for d in dev for m in d.mentions}
    given = [row for row in rows(link(calibrated, "--target-precision", "0.85")) if row["predictions"]]
    right = [(tuple(row["predictions"][0]["codes"]),) == gold[row["document_id"], row["mention_id"]] for row in given]
    assert sum(right) / len(right) >= 0.85
    refused = link(calibrated, "--target-precision", "0.99")
    assert isinstance(refused.exception, ConfigError)
    assert "best lower bound is 0." in str(refused.exception)
    assert "\n" not in str(refused.exception)


def test_sets_of_codes_hold_the_right_one_as_often_as_was_asked(calibrated: Path, dev: list[Document]) -> None:
    gold = {(d.id, m.id): m.codes[0] for d in dev for m in d.mentions}
    found = rows(link(calibrated, "--coverage", "0.9"))
    assert all(row["answer_set"][0] == row["predictions"][0]["code"] for row in found)
    assert sum(gold[row["document_id"], row["mention_id"]] in row["answer_set"] for row in found) / len(found) >= 0.9
    assert all("answer_set" not in row for row in rows(link(calibrated)))


def test_a_coverage_that_so_few_documents_cannot_show_is_refused(calibrated: Path) -> None:
    refused = link(calibrated, "--coverage", "0.99")
    assert isinstance(refused.exception, ConfigError)
    assert "needs 99 calibrating documents or more, there are 40" in str(refused.exception)


def test_another_search_has_no_confidence_and_no_threshold(calibrated: Path) -> None:
    other = run("link", "--model", calibrated / "model", "--device", "cpu", "--num-beams", "2", calibrated / "dev.jsonl")
    assert other.exit_code == 0
    assert "no confidence is given" in other.stderr
    assert all("confidence" not in row["predictions"][0] for row in map(json.loads, other.stdout.splitlines()))
    refused = run("link", "--model", calibrated / "model", "--num-beams", "2", calibrated / "dev.jsonl", "--min-confidence", "0.5")
    assert isinstance(refused.exception, ConfigError)
    assert "num_beams 3 and not 2" in str(refused.exception)


def test_a_linker_keeps_its_calibration_from_another_search(calibrated: Path) -> None:
    linker = Linker.from_pretrained(calibrated / "model", DecodingSettings(num_beams=3), "cpu")
    with pytest.raises(ConfigError, match="num_beams 3 and not 4"):
        replace(linker, settings=DecodingSettings(num_beams=4))
    assert replace(linker, settings=DecodingSettings(num_beams=4), answering=None).answering is None


@pytest.mark.parametrize("off", ["soft_groups", "hard_groups"])
def test_a_linker_keeps_its_calibration_from_a_search_of_other_groups(calibrated: Path, off: str) -> None:
    linker = Linker.from_pretrained(calibrated / "model", DecodingSettings(num_beams=3), "cpu", min_confidence=0.5)
    with pytest.raises(ConfigError, match="answering=None"):
        replace(linker, **{off: False})  # type: ignore[arg-type]
    assert replace(linker, answering=None, **{off: False}).answering is None  # type: ignore[arg-type]


@pytest.mark.parametrize("entry", ["context_chars", "types"])
def test_prompts_that_are_written_otherwise_void_a_calibration(calibrated: Path, entry: str, tmp_path: Path) -> None:
    shutil.copytree(calibrated / "model", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["syncabel"][entry] = {"context_chars": 7, "types": {"Finding": ["Disease"]}}[entry]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DigestMismatchError, match="prompts"):
        Linker.from_pretrained(tmp_path / "m", DecodingSettings(num_beams=3), "cpu", min_confidence=0.5)


def test_vllm_whose_answers_stand_alone_takes_no_threshold(calibrated: Path) -> None:
    from syncabel.serving import CertifiedVLLM

    with pytest.raises(ConfigError, match="take Linker"):
        CertifiedVLLM.from_pretrained(calibrated / "model", coverage=0.8)


@pytest.mark.parametrize("what", ["kb", "lexicon", "weights", "prompts"])
def test_a_calibration_is_void_after_a_change_until_it_is_measured_again(calibrated: Path, what: str, tmp_path: Path) -> None:
    shutil.copytree(calibrated / "model", tmp_path / "m")
    value = json.loads((tmp_path / "m" / CALIBRATION).read_text())
    value["digests"][what] = "f" * 64
    (tmp_path / "m" / CALIBRATION).write_text(json.dumps(value))
    settings = DecodingSettings(num_beams=3)
    with pytest.raises(DigestMismatchError, match=rf"{what}.*void after a change until it is measured again"):
        Linker.from_pretrained(tmp_path / "m", settings, "cpu", min_confidence=0.5)
    assert Linker.from_pretrained(tmp_path / "m", settings, "cpu").answering is None


def test_one_changed_byte_anywhere_makes_other_weights(tmp_path: Path) -> None:
    """A model of 8 MiB in two files, a bit of which turns at places of every kind."""
    size = 4 << 20
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(bytes(size))
    seen = {weights_digest(tmp_path)}
    for place in (0, 65_536 + 7, 1_000_003, size // 2 + 77_777, size - 1):
        content = bytearray(size)
        content[place] = 1
        (tmp_path / "b.safetensors").write_bytes(content)
        seen.add(weights_digest(tmp_path))
    assert len(seen) == 6
    (tmp_path / "b.safetensors").rename(tmp_path / "c.safetensors")
    assert weights_digest(tmp_path) not in seen


def test_a_lexicon_that_was_altered_is_refused(calibrated: Path, small_kb: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    from syncabel.kb import KnowledgeBase
    from syncabel.lexicon.build import build_lexicon

    shutil.copytree(calibrated / "model", tmp_path / "m")
    smaller = build_lexicon(KnowledgeBase.build([c for c in small_kb.concepts() if c.code != "A:4"], small_kb.manifest.about), tiny_tokenizer)
    shutil.rmtree(tmp_path / "m" / "lexicon")
    smaller.save(tmp_path / "m" / "lexicon")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["syncabel"]["lexicon_digest"] = smaller.digest
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DigestMismatchError, match=r"calibration\.json"):
        Linker.from_pretrained(tmp_path / "m", DecodingSettings(num_beams=3), "cpu", target_precision=0.8)


def test_a_model_that_was_never_calibrated_says_what_to_run(exported: Path) -> None:
    with pytest.raises(ConfigError, match="syncabel calibrate"):
        Linker.from_pretrained(exported, device="cpu", coverage=0.8)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"min_confidence": 0.5, "target_precision": 0.9}, "one of them"),
        ({"min_confidence": 1.5}, "between 0 and 1"),
        ({"min_confidence": float("nan")}, "between 0 and 1"),
        ({"target_precision": 1.0}, "between 0 and 1"),
        ({"coverage": 0.0}, "between 0 and 1"),
    ],
)
def test_fractions_that_are_none_are_refused(calibrated: Path, wanted: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Linker.from_pretrained(calibrated / "model", DecodingSettings(num_beams=3), "cpu", **wanted)  # type: ignore[arg-type]


def test_damaged_calibrations_are_named_and_can_be_replaced(calibrated: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(calibrated / "model", tmp_path / "model")
    settings = DecodingSettings(num_beams=3)
    whole = (tmp_path / "model" / CALIBRATION).read_text()
    for damaged in (whole[:-20], whole.replace("calibration/1", "calibration/9"), whole.replace('"intercept": ', '"intercept": NaN, "x": '), "[]"):
        (tmp_path / "model" / CALIBRATION).write_text(damaged)
        with pytest.raises(FormatError, match=r"calibration\.json.*calibrate"):
            Linker.from_pretrained(tmp_path / "model", settings, "cpu")
    done = run("calibrate", tmp_path / "model", calibrated / "dev.jsonl", "--kb", exported.parent / "kb", "--num-beams", "3", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert Linker.from_pretrained(tmp_path / "model", settings, "cpu").answering is not None
    assert not (tmp_path / "model" / SEEN_FILE).exists()  # without training documents there are no digests of them


def test_a_calibration_without_its_digests_of_training_strings_is_named(calibrated: Path, tmp_path: Path) -> None:
    shutil.copytree(calibrated / "model", tmp_path / "model")
    (tmp_path / "model" / SEEN_FILE).unlink()
    with pytest.raises(IncompleteFolderError, match=SEEN_FILE):
        Linker.from_pretrained(tmp_path / "model", DecodingSettings(num_beams=3), "cpu")


def test_predictions_stand_in_for_linking_and_give_the_same(calibrated: Path, exported: Path, dev: list[Document], tmp_path: Path) -> None:
    """On the calibrating half, with predictions for all of dev that an earlier threshold held back in part."""
    shutil.copytree(calibrated / "model", tmp_path / "model")
    (tmp_path / "p.jsonl").write_text(link(calibrated, "--min-confidence", "0.6").stdout)
    command = ("calibrate", tmp_path / "model", calibrated / "dev.jsonl", "--kb", exported.parent / "kb", "--num-beams", "3", "--device", "cpu")
    made = []
    for way in ((), ("--predictions", tmp_path / "p.jsonl")):
        done = run(*command, *way)
        assert done.exit_code == 0, (done.output, done.exception)
        made.append(Calibration.load(tmp_path / "model" / CALIBRATION))
    assert made[0].digests == made[1].digests
    assert made[0].fit.documents == len(part_of_dev(dev, "calibrate")) == 20
    assert made[0].calibrator.weights == pytest.approx(made[1].calibrator.weights, abs=1e-3)
    assert "20 documents, 80 annotated mentions, 80 answered" in done.stdout


def test_nothing_of_the_corpus_is_in_the_files(calibrated: Path) -> None:
    written = set(re.findall(r'"([^"]*)"', (calibrated / "model" / CALIBRATION).read_text()))
    assert not written & {*WORDS, *PLACES, *(f"d{i}" for i in range(40))}
    assert b"cold" not in (calibrated / "model" / SEEN_FILE).read_bytes()


def test_no_seen_keeps_no_digests_and_training_documents_do_not_calibrate(calibrated: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(calibrated / "model", tmp_path / "model")
    command = ("calibrate", tmp_path / "model", calibrated / "dev.jsonl", "--kb", exported.parent / "kb", "--num-beams", "3", "--device", "cpu")
    assert run(*command, "--train", calibrated / "train.jsonl", "--no-seen").exit_code == 0
    assert not (tmp_path / "model" / SEEN_FILE).exists()
    assert "seen" not in Calibration.load(tmp_path / "model" / CALIBRATION).calibrator.features
    leaked = run(*command, "--train", calibrated / "dev.jsonl")
    assert isinstance(leaked.exception, ConfigError)
    assert "training documents" in str(leaked.exception)


def test_another_knowledge_base_cannot_calibrate(calibrated: Path) -> None:
    refused = run("calibrate", calibrated / "model", calibrated / "dev.jsonl", "--kb", "doid")
    assert isinstance(refused.exception, DigestMismatchError)


def test_a_calibration_survives_publishing_and_loading(calibrated: Path, tmp_path: Path) -> None:
    from syncabel.hub.model import REPLACES, export_model_repo

    facts = export_model_repo(calibrated / "model", tmp_path / "out", "org/name", title="T", with_seen=True)
    assert {CALIBRATION, SEEN_FILE} <= set(facts.files) & set(REPLACES)
    settings = DecodingSettings(num_beams=3)
    one, other = (Linker.from_pretrained(folder, settings, "cpu", min_confidence=0.5) for folder in (calibrated / "model", tmp_path / "out"))
    sample = documents(3)
    assert list(one.link(sample)) == list(other.link(sample))


def test_digests_of_training_mentions_go_out_only_when_asked_for(calibrated: Path, tmp_path: Path) -> None:
    from syncabel.hub.model import export_model_repo

    facts = export_model_repo(calibrated / "model", tmp_path / "out", "org/name", title="T")
    assert {CALIBRATION, SEEN_FILE} <= set(facts.left_out)
    done = run("publish", calibrated / "model", "--repo", "org/name", "--dry-run", "-o", tmp_path / "kept")
    assert done.exit_code == 0, done.output
    assert "--no-seen" in done.stderr
    assert not (tmp_path / "kept" / SEEN_FILE).exists()


def test_a_calibration_is_applied_without_learning_library_tables_or_torch(calibrated: Path) -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["polars", "marisa_trie", "sklearn", "scipy", "torch", "transformers"]))
from pathlib import Path
from syncabel.calibration import Answering, Calibration
from syncabel.lexicon.store import Lexicon
from syncabel.types import LinkedMention, Prediction
model = Path({str(calibrated / "model")!r})
found = LinkedMention("d", "1", "cold", 0, 4, (), (Prediction(("A:5",), "cold (common cold)", -1.0, mass=0.4, bound=0.1),))
print(Answering(Calibration.load(model / {CALIBRATION!r}), threshold=1.0).answered(found, Lexicon.load(model / "lexicon")).abstained)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert re.fullmatch(r"confidence 0\.\d{3} is under 1\.000\n", done.stdout), done.stderr
