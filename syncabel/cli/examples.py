"""`syncabel examples`: documents to training examples."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli.console import err, tracked
from syncabel.corpora import read_corpus, split_documents, write_jsonl
from syncabel.errors import ConfigError
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import PromptFormat
from syncabel.sft import ExampleSettings, make_examples, write_examples
from syncabel.types import Document, Mention, Rejection, SFTExample, to_json

__all__ = ["examples"]


def examples(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    corpus: Annotated[list[Path], typer.Argument(help="Training documents: human or synthetic, JSON Lines or PubTator.")],
    lexicon: Annotated[Path, typer.Option(help="Lexicon folder, built for the model's tokenizer.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write: human.jsonl, synthetic.jsonl, dev.jsonl, types.json, rejected.jsonl.")],
    corpus_format: Annotated[str, typer.Option("--format", help="auto, jsonl, pubtator-ncbi or pubtator-bc5cdr.")] = "auto",
    prompt_format: Annotated[str, typer.Option(help="sentence or syncabel.")] = "sentence",
    language: Annotated[str, typer.Option(help="en, fr or es.")] = "en",
    target: Annotated[str, typer.Option(help="How the name to write is chosen: tfidf, levenshtein or preferred.")] = "tfidf",
    type_dropout: Annotated[float, typer.Option(help="Share of prompts that do not say the type, a fraction.")] = 0.15,
    dev_fraction: Annotated[float, typer.Option(help="Share of the human training documents split off as dev, a fraction.")] = 0.1,
    types: Annotated[Path | None, typer.Option(help="JSON table from annotated types to groups; counted on the training documents where not given.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Turn documents into training examples; dev is split off by document, test documents are refused."""
    base, words = KnowledgeBase.load(kb), Lexicon.load(lexicon)
    read = read_corpus(corpus, format=corpus_format)
    test = [document.id for document in read.documents if document.split == "test"]
    if test:
        raise ConfigError(f"{len(test)} documents are of split 'test' (first: {test[0]}); training and selection never see test data, leave them out")
    train, dev = _split(list(read.documents), dev_fraction, seed)
    type_map = _type_map(types, train, base)
    fmt = PromptFormat(prompt_format, language)  # type: ignore[arg-type]
    made = make_examples(train, words, base.canonical, type_map, fmt, ExampleSettings(target, type_dropout, seed))
    rows = list(tracked(made, "examples"))
    good = [row for row in rows if isinstance(row, SFTExample)]
    bad = [*read.rejections, *(row for row in rows if isinstance(row, Rejection))]
    output.mkdir(parents=True, exist_ok=True)
    for source in ("human", "synthetic"):
        chosen = [row for row in good if row.source == source]
        if chosen:
            write_examples(chosen, output / f"{source}.jsonl")
        err.print(f"{source}: {len(chosen):,} examples")
    if dev:
        write_jsonl((_canonical(document, base) for document in dev), output / "dev.jsonl")
    (output / "types.json").write_text(json.dumps(type_map.table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (output / "rejected.jsonl").write_text("".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in bad), encoding="utf-8")
    err.print(f"dev: {len(dev):,} documents; types: {dict(type_map.table)}")
    err.print(f"rejected: {len(bad):,} {dict(Counter(row.reason for row in bad))} → {output / 'rejected.jsonl'}")


def _split(documents: list[Document], fraction: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Train and dev: the documents' own dev where they have one, else split off the human ones."""
    dev = [document for document in documents if document.split == "dev"]
    rest = [document for document in documents if document.split != "dev"]
    human = [document for document in rest if document.source == "human"]
    if dev or not human or fraction == 0:
        return rest, dev
    kept, split_off = split_documents(human, fraction, seed)
    return [*kept, *(document for document in rest if document.source != "human")], list(split_off)


def _canonical(document: Document, kb: KnowledgeBase) -> Document:
    """The document with current codes: training, which judges checkpoints on it, has no knowledge base."""

    def current(mention: Mention) -> Mention:
        if not mention.answers:
            return mention
        answers = tuple(tuple(sorted({kb.canonical(code) or code for code in answer})) for answer in mention.answers)
        return replace(mention, answers=answers)

    return replace(document, mentions=tuple(map(current, document.mentions)))


def _type_map(table: Path | None, train: list[Document], kb: KnowledgeBase) -> TypeMap:
    if table is not None:
        return TypeMap(kb.groups, {kind: tuple(groups) for kind, groups in json.loads(table.read_text(encoding="utf-8")).items()})
    return TypeMap.counted(train, lambda code: kb.concept(code).groups if code in kb else (), kb.groups)
