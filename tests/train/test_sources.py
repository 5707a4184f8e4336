"""The sources of a run: which files a mix uses, tokens made once and mapped afterwards, and data that do not belong to the run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncabel.errors import ConfigError, DigestMismatchError, SyncabelError, UnknownNameError
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat
from syncabel.sft import read_examples, write_examples, write_format
from syncabel.train.arguments import Settings, parse
from syncabel.train.data import Tokens, build_run, encode_examples, pack
from syncabel.train.model import load_tokenizer
from syncabel.train.run import make_trainer
from syncabel.train.sources import example_files, load_sources, mode_of, tokens_of
from syncabel.train.token_cache import ArrayFile
from syncabel.types import Provenance

Flags = Callable[..., list[str]]


class Counting:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.texts = tokenizer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, text: str, **named: Any) -> Any:
        self.texts += bool(text)
        return self.tokenizer(text, **named)

    @property
    def backend_tokenizer(self) -> "Counting":
        return self

    def to_str(self) -> str:
        return str(self.tokenizer.backend_tokenizer.to_str())

    def encode_batch_fast(self, texts: Sequence[str], **named: Any) -> Any:
        self.texts += len(texts)
        return self.tokenizer.backend_tokenizer.encode_batch_fast(texts, **named)


@pytest.fixture
def work(prepared: Callable[..., Path], tmp_path: Path) -> Path:
    """The prepared folder to write in, with a third source."""
    folder = tmp_path / "data"
    shutil.copytree(prepared(), folder, ignore=shutil.ignore_patterns("tokens"))
    shutil.copy(folder / "synthetic.jsonl", folder / "names.jsonl")
    return folder


@pytest.fixture
def settings(work: Path, flags: Flags) -> Callable[..., Settings]:
    """`settings(*flags, sources=…)` of a run over the files of `work`."""

    def make(*more: str, sources: Sequence[str] = ("human", "synthetic"), suffix: str = ".jsonl") -> Settings:
        files = [flag for source in sources for flag in (f"--{source}_examples", str(work / f"{source}{suffix}"))]
        return parse(flags(*files, *more, sources=()))

    return make


def loaded(settings: Settings) -> tuple[Lexicon, Any]:
    return Lexicon.load(settings.own.lexicon), load_tokenizer(settings)


def arrays(tokens: Tokens) -> list[list[int]]:
    return [getattr(tokens, name).tolist() for name in ("ids", "labels", "lengths", "sequences")]


def test_sources_are_tokenised_once_and_are_the_same_from_json_lines_parquet_and_the_cache(settings: Any, work: Path) -> None:
    lexicon, plain = loaded(settings())
    tokenizer = Counting(plain)
    for name in ("human", "synthetic"):
        write_examples(read_examples(work / f"{name}.jsonl"), work / f"{name}.parquet")
    expected = {name: encode_examples(read_examples(work / f"{name}.jsonl"), lexicon, plain, 200) for name in ("human", "synthetic")}
    for suffix in (".jsonl", ".parquet"):
        first = load_sources(settings(suffix=suffix), lexicon, tokenizer)
        assert tokenizer.texts > 0
        tokenizer.texts = 0
        again = load_sources(settings(suffix=suffix), lexicon, tokenizer)
        assert tokenizer.texts == 0
        assert list(first) == list(again) == ["human", "synthetic"]
        for name, tokens in expected.items():
            assert arrays(first[name]) == arrays(again[name]) == arrays(tokens)
            assert (first[name].longest, first[name].dropped) == (tokens.longest, tokens.dropped)
            assert not first[name].ids.flags.owndata


@pytest.mark.parametrize(
    "change",
    [["--max_length", "60"], ["--word_cuts", "0.5"], ["--context_length", "256", "--max_length", "199"], ["--token_cache", "elsewhere"]],
    ids=" ".join,
)
def test_what_decides_the_tokens_decides_the_place(change: list[str], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lexicon, tokenizer = loaded(settings())
    one = load_sources(settings(), lexicon, tokenizer)["human"]
    other = load_sources(settings(*change), lexicon, tokenizer)["human"]
    assert one.folder != other.folder
    assert load_sources(settings(), lexicon, tokenizer)["human"].folder == one.folder
    assert one.folder is not None
    assert one.folder.parent == tmp_path / "data" / "tokens"


def test_a_changed_file_another_tokenizer_and_another_lexicon_are_tokenised_anew(settings: Any, work: Path, prepared: Callable[..., Path]) -> None:
    lexicon, tokenizer = loaded(settings())
    human, places = work / "human.jsonl", set()
    for _ in range(2):
        places.add(tokens_of(human, settings(), lexicon, tokenizer).folder)
    human.write_text("".join(human.read_text().splitlines(keepends=True)[:-1]))
    places.add(tokens_of(human, settings(), lexicon, tokenizer).folder)
    tokenizer.add_tokens(["<one>"])
    places.add(tokens_of(human, settings(), lexicon, tokenizer).folder)
    places.add(tokens_of(human, settings(), replace(lexicon, header={**lexicon.header, "digest": "0" * 64}), tokenizer).folder)
    assert len(places) == 4


def test_examples_that_are_too_long_are_kept_with_the_tokens(settings: Any) -> None:
    lexicon, tokenizer = loaded(settings())
    first, again = (load_sources(settings("--max_length", "58"), lexicon, tokenizer)["human"] for _ in range(2))
    assert 0 < len(first.dropped) < 24
    assert first.dropped == again.dropped
    assert {row.reason for row in first.dropped} == {"too_long"}
    assert first.longest > 58
    assert first.folder is not None
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:-20]), Path.unlink):
        damage(first.folder / "dropped.jsonl")
        assert load_sources(settings("--max_length", "58"), lexicon, tokenizer)["human"].dropped == first.dropped


def test_where_everything_is_too_long_the_message_says_how_long(settings: Any, work: Path) -> None:
    lexicon, tokenizer = loaded(settings())
    longest = encode_examples(read_examples(work / "human.jsonl"), lexicon, tokenizer, 200).longest
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ConfigError, match=rf"human\.jsonl: no training example is left, all 24 .* max_length=10; raise max_length to {longest}"):
            load_sources(settings("--max_length", "10"), lexicon, tokenizer)


def test_a_cut_off_array_is_made_again_and_half_a_folder_is_never_read(settings: Any) -> None:
    lexicon, tokenizer = loaded(settings())
    before = load_sources(settings(), lexicon, tokenizer)["human"]
    expected, folder = arrays(before), before.folder
    assert folder is not None
    for damaged, size in (("ids.npy", 100), ("tokens.json", 3), ("lengths.npy", 0)):
        whole = (folder / damaged).read_bytes()
        (folder / damaged).unlink()  # a new file: the old one is still mapped
        (folder / damaged).write_bytes(whole[:size])
        assert arrays(load_sources(settings(), lexicon, tokenizer)["human"]) == expected


def test_a_refused_file_leaves_nothing_in_the_cache(settings: Any, work: Path) -> None:
    lexicon, tokenizer = loaded(settings())
    lines = (work / "synthetic.jsonl").read_text().splitlines(keepends=True)
    (work / "synthetic.jsonl").write_text("".join(lines[:50]) + lines[50].replace(" is", " was") + "".join(lines[51:]))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"synthetic\.jsonl:51: the question does not end in 'is'"):
            tokens_of(work / "synthetic.jsonl", settings(), lexicon, tokenizer)
    assert [path for path in (work / "tokens").iterdir() if path.suffix != ".lock"] == []


def test_a_hit_of_the_cache_is_still_compared_with_what_the_folder_says(settings: Any, work: Path) -> None:
    lexicon, tokenizer = loaded(settings())
    write_format(work, PromptFormat(), lexicon)
    load_sources(settings(), lexicon, tokenizer)
    write_format(work, PromptFormat(context_chars=7), lexicon)
    with pytest.raises(ConfigError, match="made with context_chars 7"):
        load_sources(settings(), lexicon, tokenizer)


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from syncabel.train.token_cache import ArrayFile, kept
folder = Path(sys.argv[1])
def make(new):
    with (folder.parent / "made").open("a") as log:
        log.write("x")
    with ArrayFile(new / "ids.npy", np.int32) as ids:
        for start in range(0, 5000, 100):
            ids.append(np.arange(start, start + 100))
            time.sleep(0.01)
    return {"tokens": ids.length}
found = kept(folder, ("ids",), make)
print(found.header["tokens"], int(found.arrays["ids"].sum()))
"""


def test_of_many_processes_one_makes_the_arrays_and_all_map_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "key")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]) for _ in range(4)]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert said == [["5000", str(sum(range(5000)))]] * 4
    assert (tmp_path / "made").read_text() == "x"


def test_what_a_kill_leaves_is_made_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]) as first:
        while not (tmp_path / "made").exists():
            assert first.poll() is None
        first.kill()
    assert not (tmp_path / "key").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[2], check=True)
    assert done.stdout.split()[0] == "5000"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".key.lock", "key", "made"]


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir(mode=0o500)
    # Root may write anywhere: as nobody, where this is root, from where everything is imported.
    code = PROCESS.replace("found = kept", "import os; os.getuid() or os.setuid(65534)\nfound = kept")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "tokens" / "key")], cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert "give token_cache another folder" in done.stderr, done.stderr


def test_an_array_file_reads_as_what_was_appended(tmp_path: Path) -> None:
    parts = [np.arange(n) for n in (0, 3, 100_000, 1)]
    with ArrayFile(tmp_path / "a.npy", np.int32) as file:
        for part in parts:
            file.append(part)
    read = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert read.dtype == np.int32
    assert (read == np.concatenate(parts)).all()


def test_packs_are_kept_beside_the_tokens_by_size_and_seed_and_are_those_made_in_memory(settings: Any) -> None:
    lexicon, tokenizer = loaded(settings())
    mapped = load_sources(settings(), lexicon, tokenizer)["synthetic"]
    assert mapped.folder is not None
    for size, seed in ((128, 0), (128, 1), (200, 0)):
        packed, again = pack(mapped, size, seed), pack(mapped, size, seed)
        assert packed.folder == again.folder == mapped.folder / f"pack-{size}-{seed}"
        assert not packed.ids.flags.owndata
        assert arrays(packed) == arrays(again) == arrays(pack(replace(mapped, folder=None), size, seed))
    assert len(list(mapped.folder.glob("pack-*"))) == 3


@pytest.mark.parametrize("packing", [None, 128])
def test_a_run_over_mapped_tokens_is_the_run_over_tokens_in_memory_and_copies_none(packing: int | None, settings: Any) -> None:
    lexicon, tokenizer = loaded(settings())
    mapped = load_sources(settings(), lexicon, tokenizer)
    in_memory = {name: replace(tokens, folder=None) for name, tokens in mapped.items()}
    named: dict[str, Any] = {"ratio": "1:2", "max_steps": 0, "epochs": 2, "items_per_step": 4, "bucket_batches": 1, "max_repeats": 100, "seed": 3}
    one, other = (build_run(sources, packing=packing, **named) for sources in (mapped, in_memory))
    assert one.digest == other.digest
    assert one.dataset[:] == other.dataset[:]
    items = [
        (tokens.ids, tokens.labels, np.concatenate([[0], np.cumsum(tokens.item_lengths)]))
        for tokens in (pack(t, packing, 3) if packing else t for t in mapped.values())
    ]
    expected = [(ids[a:b].tolist(), labels[a:b].tolist()) for ids, labels, ends in items for a, b in pairwise(ends)]
    rows = one.dataset[:]
    assert [(rows["input_ids"][i], rows["labels"][i]) for i in range(len(one.mixture.order))] == [expected[item] for item in one.mixture.order]
    # The very bytes of the file: nothing between it and what a batch is taken from.
    where = [chunk.values.buffers()[1].address for chunk in one.dataset.data.column("input_ids").chunks]
    assert where == [ids.ctypes.data for ids, _, _ in items] if packing is None else len(where) == 2


@pytest.mark.parametrize(
    ("mix", "sources", "used", "ratio"),
    [
        (None, ("human",), ("human",), None),
        (None, ("human", "synthetic", "names"), ("human", "synthetic", "names"), None),
        ("1:9", ("human", "synthetic"), ("human", "synthetic"), "1:9"),
        ("2:1", ("human", "names"), ("human", "names"), "2:1"),
        ("1:1:0.5", ("human", "synthetic", "names"), ("human", "synthetic", "names"), "1:1:0.5"),
        ("human-only", ("human", "synthetic", "names"), ("human",), None),
        ("synthetic-only", ("human", "synthetic"), ("synthetic",), None),
        ("names-only", ("names",), ("names",), None),
        ("concatenate", ("human", "names"), ("human", "names"), "concatenate"),
    ],
)
def test_a_mix_uses_the_sources_it_speaks_of(mix: str | None, sources: tuple[str, ...], used: tuple[str, ...], ratio: str | None, settings: Any) -> None:
    given = settings(*(["--mix", mix] if mix else []), sources=sources)
    assert tuple(example_files(given)) == used
    assert mode_of(given) == ratio


@pytest.mark.parametrize(
    ("mix", "sources", "kind", "message"),
    [
        ("1:1", ("human",), ConfigError, "no synthetic_examples"),
        ("1:1", ("human", "synthetic", "names"), ConfigError, "human:synthetic:names"),
        ("1:1:1", ("human", "synthetic"), ConfigError, "human:synthetic"),
        ("names-only", ("human",), ConfigError, "mix is 'names-only', but there are no names_examples"),
        ("humans-only", ("human",), UnknownNameError, "did you mean 'human-only'"),
        ("a:b", ("human", "synthetic"), ConfigError, "human:synthetic as numbers"),
    ],
)
def test_a_mix_that_does_not_go_with_the_files_is_refused(mix: str, sources: tuple[str, ...], kind: type[SyncabelError], message: str, settings: Any) -> None:
    with pytest.raises(kind, match=message):
        mode_of(settings("--mix", mix, sources=sources))


def test_what_a_word_leaves_out_is_said_and_not_read(settings: Any, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "synthetic.jsonl").write_text("no example\n")
    sources = load_sources(settings("--mix", "human-only"), *loaded(settings()))
    assert list(sources) == ["human"]
    assert f"mix is human-only: left out synthetic_examples, {work / 'synthetic.jsonl'}" in capsys.readouterr().err


def test_a_run_of_three_sources_counts_each(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    three = ("human", "synthetic", "names")
    _, data, _ = make_trainer(settings("--mix", "2:1:1", "--max_steps", "40", sources=three))
    assert [side.name for side in data.mixture.report.sides] == list(three)
    assert [side.share for side in data.mixture.report.sides] == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
    loss = [sum(label != -100 for label in row) for row in data.dataset["labels"]]
    assert sum(loss) == sum(side.loss_tokens for side in data.mixture.report.sides)
    assert "names" in capsys.readouterr().err


def test_a_concatenated_run_shows_every_example_once_an_epoch(settings: Any) -> None:
    _, data, _ = make_trainer(settings("--mix", "concatenate", "--max_steps", "-1", "--num_train_epochs", "1", "--per_device_train_batch_size", "4"))
    assert sorted(data.mixture.order.tolist()) == list(range(104))
    assert data.steps == 26
    assert [side.repeats for side in data.mixture.report.sides] == [1, 1]


def generated(path: Path, kb_digest: str) -> None:
    """The file's examples as generated for a knowledge base."""
    rows = [replace(row, provenance=Provenance(row.code, "template", kb_digest=kb_digest)) for row in read_examples(path)]
    write_examples(rows, path)


def test_sentences_generated_for_another_knowledge_base_are_refused_unless_they_were_rebased_to_this_one(settings: Any, work: Path) -> None:
    lexicon, tokenizer = loaded(settings())
    kb_digest, path = str(lexicon.header["kb_digest"]), work / "synthetic.jsonl"
    generated(path, kb_digest)
    tokens_of(path, settings(), lexicon, tokenizer)
    generated(path, "f" * 64)
    for rebased_to in (None, "0" * 64):
        write_format(work, PromptFormat(), lexicon, rebased_to)
        with pytest.raises(DigestMismatchError, match=rf"synthetic\.jsonl:1: .*ffffffff… where {kb_digest[:8]}….*--rebase"):
            tokens_of(path, settings(), lexicon, tokenizer)
    write_format(work, PromptFormat(), lexicon, kb_digest)
    assert len(tokens_of(path, settings(), lexicon, tokenizer).lengths) == 80
    write_format(work, PromptFormat(), lexicon)
    with pytest.raises(DigestMismatchError):
        tokens_of(path, settings(), lexicon, tokenizer)
    assert read_examples(path)[0].provenance == Provenance(json.loads(path.read_text().splitlines()[0])["code"], "template", kb_digest="f" * 64)
