"""docs/training.md has the commands that make what each shipped configuration reads: here they make it, with a small tokenizer."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from syncabel.cli.app import app
from syncabel.corpora import read_jsonl, write_jsonl
from syncabel.lexicon.store import Lexicon
from syncabel.train.arguments import parse
from syncabel.train.model import load_tokenizer
from syncabel.train.sources import load_sources
from syncabel.types import Document, Mention, Provenance, Span

ROOT = Path(__file__).resolve().parents[2]
SECTION = "From a knowledge base to a configuration"
CONFIGS = sorted(path for path in (ROOT / "configs" / "sft").glob("*.yaml") if path.stem != "tiny-cpu")  # its files are the quickstart's
ROW = re.compile(r"^\| `(\S+)` \| `(\S+)` \| `(\S+)` \|", re.MULTILINE)  # of the table: configurations, tokenizer, folder
WRITTEN_OUT = "out/smollm2"  # the folder of the commands that the table's rows are read into


def section() -> str:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    return text.split(f"### {SECTION}\n")[1].split("\n### ")[0]


def commands() -> list[list[str]]:
    """The section's commands, one list of words each."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def row_of(config: str) -> tuple[str, str]:
    """Tokenizer and folder of a configuration, by the table."""
    ((_, tokenizer, folder),) = [row for row in ROW.findall(section()) if fnmatch(config, row[0])]
    return tokenizer, folder


def making(config: str) -> list[list[str]]:
    """The commands that make lexicon and examples of a configuration: those written out, or those of SmolLM2 with the table's words."""
    tokenizer, folder = row_of(config)
    steps = [words[1:] for words in commands() if words[1] in ("lexicon", "examples")]
    if own := [words for words in steps if f"{folder}/examples" in words or f"{folder}/lexicon" in words]:
        return own
    first = row_of("smollm2-135m")[0]
    return [[tokenizer if word == first else word.replace(WRITTEN_OUT, folder) for word in words] for words in steps if WRITTEN_OUT in " ".join(words)]


def documents(kb: Any, source: Any, split: Any, count: int) -> list[Document]:
    concepts, made = list(kb.concepts()), []
    for i in range(count):
        concept = concepts[i % len(concepts)]
        name = concept.names[i % len(concept.names)].text
        mention = Mention("1", (Span(8, 8 + len(name)),), name, concept.groups[0], ((concept.code,),))
        provenance = Provenance(concept.code, "template", kb_digest=kb.digest) if source == "synthetic" else None
        made.append(Document(f"{source}-{split}-{i}", f"She has {name} since 1997.", (mention,), source=source, split=split, provenance=provenance))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_documented_commands_make_what_a_configuration_reads(
    path: Path, small_kb: Any, tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers writes torch_compile of a configuration into it
    small_kb.save(tmp_path / "kb")
    tiny_tokenizer.save_pretrained(tmp_path / "small")
    for place, source, split, count in (
        ("splits/train.jsonl", "human", "train", 30),
        ("splits/dev.jsonl", "human", "dev", 10),
        ("out/synthetic/documents.jsonl", "synthetic", "train", 40),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(documents(small_kb, source, split, count), tmp_path / place)
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = row_of(path.stem)[0]
    assert base == settings["model_name_or_path"]
    steps = making(path.stem)
    assert [words[0] for words in steps] == ["lexicon", "examples"]
    for words in steps:
        done = CliRunner().invoke(app, ["small" if word == base else word for word in words])
        assert done.exit_code == 0, done.output
    # What the training does before it loads a model; --use_cpu: without it transformers refuses bf16 where there is no GPU.
    given = parse(["--config", str(path), "--tokenizer", settings.get("tokenizer", "small"), "--use_cpu", "--report_to", "none"])
    lexicon, tokenizer = Lexicon.load(given.own.lexicon), load_tokenizer(given)
    lexicon.check_tokenizer(tokenizer)
    found = load_sources(given, lexicon, tokenizer)
    assert {source: (len(tokens.lengths), len(tokens.dropped)) for source, tokens in found.items()} == {"human": (30, 0), "synthetic": (40, 0)}
    assert len(read_jsonl(str(given.own.dev_documents)).documents) == 10


def test_the_head_of_each_configuration_says_where_its_commands_are() -> None:
    assert len(section()) > 0
    assert [path.stem for path in CONFIGS if f'docs/training.md, "{SECTION}"' not in path.read_text(encoding="utf-8")] == []
