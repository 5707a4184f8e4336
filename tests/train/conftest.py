"""A prepared training folder, small and real: tokenizer, lexicon, examples, dev documents."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncabel.prompt import format_named, prepare_tokenizer

BEFORE = ["The patient was admitted with", "A family history of", "We report a case of", "After surgery, she developed", "Screening was negative for"]
AFTER = ["since 1997.", "was confirmed by biopsy.", "and was treated at home.", "in both children."]


def documents(kb: Any, count: int, source: str, split: str = "train") -> list[Any]:
    from syncabel.types import Document, Mention, Span

    made = []
    concepts = list(kb.concepts())
    for i in range(count):
        concept = concepts[i % len(concepts)]
        mention = concept.names[i % len(concept.names)].text.lower()
        start = f"{BEFORE[i % 5]} "
        text = f"{start}{mention} {AFTER[i % 4]}"
        span = Span(len(start), len(start) + len(mention))
        made.append(
            Document(f"{source}-{split}-{i}", text, (Mention("1", (span,), mention, concept.groups[0], ((concept.code,),)),), source=source, split=split)
        )
    return made


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers writes `torch_compile` of a configuration into the environment, where it would stay for the tests that follow."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")


@pytest.fixture(scope="session")
def prepared(small_kb: Any, tmp_path_factory: Any) -> Callable[..., Path]:
    """A folder as `syncabel lexicon build` and `syncabel examples` leave it, for a prompt format."""
    done: dict[str, Path] = {}

    def make(name: str = "sentence") -> Path:
        if name in done:
            return done[name]
        from syncabel.corpora import write_jsonl
        from syncabel.groups import TypeMap
        from syncabel.lexicon.build import build_lexicon
        from syncabel.sft import make_examples, write_examples
        from syncabel.train.scratch import train_tokenizer

        folder = tmp_path_factory.mktemp(f"prepared-{name}")
        fmt = format_named(name)
        human, synthetic = documents(small_kb, 24, "human"), documents(small_kb, 80, "synthetic")
        names = [name.text for concept in small_kb.concepts() for name in concept.names]
        tokenizer = prepare_tokenizer(train_tokenizer([*names, *(d.text for d in human), *(d.text for d in synthetic)], 400), fmt)
        tokenizer.save_pretrained(folder / "tokenizer")
        lexicon = build_lexicon(small_kb, tokenizer)
        lexicon.save(folder / "lexicon")
        for source, made in (("human", human), ("synthetic", synthetic)):
            write_examples(make_examples(made, lexicon, small_kb.canonical, TypeMap(small_kb.groups, {}), fmt), folder / f"{source}.jsonl")
        write_jsonl(documents(small_kb, 12, "human", "dev"), folder / "dev.jsonl")
        (folder / "types.json").write_text(json.dumps({"Disease": ["Disease"], "Physiology": ["Physiology"]}))
        done[name] = folder
        return folder

    return make


@pytest.fixture
def flags(prepared: Callable[..., Path], tmp_path: Path) -> Callable[..., list[str]]:
    """Command-line flags of a run of seconds."""

    def make(*more: str, name: str = "sentence", sources: Sequence[str] = ("human", "synthetic"), output: Path | None = None) -> list[str]:
        folder, out = prepared(name), output or tmp_path / "run"
        files = [flag for source in sources for flag in (f"--{source}_examples", str(folder / f"{source}.jsonl"))]
        shape = "--init random --hidden_size 32 --intermediate_size 64 --num_layers 2 --num_heads 4 --context_length 256 --max_length 200"
        steps = "--max_steps 12 --per_device_train_batch_size 8 --learning_rate 0.003 --warmup_steps 2 --logging_steps 2"
        quiet = "--save_strategy no --gradient_checkpointing false --report_to none --disable_tqdm true --dataloader_pin_memory false"
        where = ["--tokenizer", str(folder / "tokenizer"), "--lexicon", str(folder / "lexicon"), "--output_dir", str(out)]
        return [*where, *files, "--prompt_format", name, *f"{shape} {steps} {quiet}".split(), *more]

    return make
