"""A published model where nothing but torch, transformers and accelerate is installed: a fresh venv, the stand-in of the hub, the card's own lines."""

import json
import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from hub_stand_in import command, environment
from packaging.requirements import Requirement

from syncabel.decoding import DecodingSettings
from syncabel.linker import Linker
from syncabel.types import Document, Mention, Query, Span

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]
REPO = "lab/tiny-linker"
PROMISED = ("torch", "transformers", "accelerate")
ABSENT = ("syncabel", "constrained", "data_gen", "trl", "peft", "datasets", "polars", "marisa_trie", "sklearn", "pyarrow", "pytest")
TEXT, MENTION = "The patient has multiple sclerosis since 1997.", "multiple sclerosis"
SENTENCE = TEXT.replace(MENTION, f"[{MENTION}]{{Disease}}")


def needed(names: tuple[str, ...]) -> dict[str, Distribution]:
    """These distributions and what they require, as the metadata of this environment has it."""
    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        one = distribution(left.pop())
        if one.metadata["Name"] not in found:
            found[one.metadata["Name"]] = one
            wanted = (Requirement(line) for line in one.requires or ())
            left += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a venv whose only packages are links to those that the three names need."""
    place = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    for one in needed(PROMISED).values():
        for top in {path.parts[0] for path in one.files or () if path.parts[0] not in ("..", "__pycache__")}:
            link, target = packages / top, Path(str(one.locate_file(top)))
            if not link.exists():
                link.symlink_to(target)
    return place / "bin" / "python"


PROGRAM = """
import importlib.util, json, sys
found = [name for name in {absent!r} if importlib.util.find_spec(name)]
assert not found, found
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({repo!r}, trust_remote_code=True)
out = dict(type=type(model).__name__)
for name, options in dict(beam=dict(num_beams=4), exact=dict(num_beams=2, search="exact"), free=dict(constrained=False, num_beams=2, max_new_tokens=8)).items():
    out[name] = model.sample(sentences=[{sentence!r}], **options)[0]
plain = AutoModelForCausalLM.from_pretrained({repo!r}, trust_remote_code=False)
ids = model.syncabel_tokenizer({sentence!r}, return_tensors="pt").input_ids
out["plain"] = type(plain).__name__
out["equal"] = bool((plain(ids).logits == model(ids).logits).all())
print(json.dumps(out))
print("---- the card")
{card}
"""


def card_lines(folder: Path) -> str:
    return re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]  # type: ignore[index]


def run(python: Path, code: str, folder: Path, hub: object) -> subprocess.CompletedProcess[str]:
    variables = environment(hub, folder / "home", None, PYTHONPATH="", OMP_NUM_THREADS="1")  # type: ignore[arg-type]
    return subprocess.run([python, "-c", code], cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False)


def publish(model: Path, hub: object, folder: Path, *more: object) -> None:
    """The command itself, in a process of its own; the folder that went out is kept."""
    done = command(model, "--repo", REPO, "-o", folder / "out", *more, hub=hub, home=folder / "publisher")  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr


def test_what_the_command_published_links_where_only_torch_transformers_and_accelerate_are(hub, trained, python, results_file, tmp_path):  # type: ignore[no-untyped-def]
    publish(trained("open"), hub, tmp_path, "--results", results_file)
    (tmp_path / "user").mkdir()
    code = PROGRAM.format(absent=ABSENT, repo=REPO, sentence=SENTENCE, card=card_lines(tmp_path / "out"))
    done = run(python, code, tmp_path / "user", hub)
    assert done.returncode == 0, done.stderr[-3000:]
    answers, card = done.stdout.split("---- the card\n")
    found = json.loads(answers)
    assert (found["type"], found["plain"], found["equal"]) == ("SyncabelForCausalLM", "LlamaForCausalLM", True)
    # What `Linker` of this package says of the same model, taken from the same place.
    query = Query(document := linked_document(), document.mentions[0], ("Disease",))
    wanted = Linker.from_pretrained(REPO, DecodingSettings(num_beams=4), "cpu").rank([query], 4)[0]
    assert [(a["pred_concept_code"], a["pred_concept_name"]) for a in found["beam"]] == [(p.code, p.name) for p in wanted]
    assert [a["log_prob"] for a in found["beam"]] == pytest.approx([p.log_prob for p in wanted], abs=1e-5)
    assert found["exact"][0]["certified"]
    assert [a["mention"] for a in found["free"]] == [MENTION] * len(found["free"])
    # The card's own lines print mention, name, code and score.
    assert re.fullmatch(r"(.+ A:\d 0\.\d{3}\n){2}", card), card


def linked_document() -> Document:
    start = TEXT.index(MENTION)
    return Document("d", TEXT, (Mention("m", (Span(start, start + len(MENTION)),), MENTION, "Disease"),))


def test_without_its_lexicon_the_model_says_what_to_do_and_then_the_cards_lines_run(hub, trained, python, tmp_path):  # type: ignore[no-untyped-def]
    publish(trained("closed"), hub, tmp_path)
    user = tmp_path / "user"
    user.mkdir()
    code = f"""
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({REPO!r}, trust_remote_code=True)
print(model.sample([{SENTENCE!r}], constrained=False, num_beams=1, max_new_tokens=6)[0][0]["pred_concept_code"])
try:
    model.sample([{SENTENCE!r}])
except Exception as error:
    print(type(error).__name__, error)
import shutil
shutil.copytree({str(trained("closed") / "lexicon")!r}, "lexicon")  # as built again; the command is run in another test
{card_lines(tmp_path / "out")}
"""
    done = run(python, code, user, hub)
    assert done.returncode == 0, done.stderr[-3000:]
    free, error, *card = done.stdout.splitlines()
    assert free == "NO_CODE"
    assert error.startswith(f"MissingLexiconError {REPO}: no lexicon/ beside the weights; with Closed Terms 7 as a knowledge base KB")
    assert f"--tokenizer {REPO} " in error
    assert "no lexicon/ beside the weights" in done.stderr  # loading says so already
    assert [re.search(r"A:\d 0\.\d{3}$", line) is not None for line in card] == [True, True]


def test_the_environment_holds_what_the_three_names_need_and_no_more(python: Path) -> None:
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert {"torch", "transformers", "accelerate", "numpy"} <= names
    assert not {name for name in names if name.startswith(ABSENT)}
    assert sys.prefix != str(python.parent.parent)
