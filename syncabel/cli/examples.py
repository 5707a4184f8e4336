"""`syncabel examples`: documents to training examples."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from syncabel.cli.console import err, tracked
from syncabel.cli.outputs import refuse_foreign, refuse_inputs
from syncabel.cli.training_documents import TrainingDocuments, with_current_codes
from syncabel.corpora import write_jsonl, write_rejections
from syncabel.errors import DigestMismatchError, UnknownNameError
from syncabel.groups import Annotations, TypeMap, annotation_counts
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import format_named
from syncabel.sft import FORMAT, ExampleSettings, codes_held_out, examples_file, make_examples, read_type_table, write_format
from syncabel.types import NIL_CODE, Document, Rejection, SFTExample

__all__ = ["examples"]

_OF_TRAIN = {"human": "human", "synthetic": "synthetic"}  # source of an example → the file it goes into
_OF_DEV = {"human": "dev_examples"}
_UNFINISHED = ".unfinished"  # as long as examples are being written, and after a run that was killed
_WRITTEN = (
    "dev.jsonl", "types.json", "rejected.jsonl", *(f"{name}{suffix}" for name in (*_OF_TRAIN.values(), *_OF_DEV.values()) for suffix in (".jsonl", ".parquet")),
)  # fmt: skip


def examples(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    corpus: Annotated[list[Path], typer.Argument(help="Training documents: human or synthetic, JSON Lines or PubTator.")],
    lexicon: Annotated[Path, typer.Option(help="Lexicon folder, built for the model's tokenizer.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Folder to write: human.jsonl, synthetic.jsonl, dev.jsonl, dev_examples.jsonl, types.json, format.json, rejected.jsonl."
        ),
    ],
    corpus_format: Annotated[str, typer.Option("--format", help="auto, jsonl, pubtator-ncbi or pubtator-bc5cdr.")] = "auto",
    prompt_format: Annotated[str, typer.Option(help="sentence, syncabel or document-first.")] = "sentence",
    language: Annotated[str, typer.Option(help="en, fr or es.")] = "en",
    target: Annotated[str, typer.Option(help="How the name to write is chosen: tfidf, levenshtein, preferred, or sampled by similarity.")] = "tfidf",
    target_temperature: Annotated[
        float, typer.Option(help="Of sampled: 1 draws in proportion to similarity, towards 0 the closest name, above 1 more evenly.")
    ] = 1.0,
    context_chars: Annotated[
        int | None, typer.Option(help="Most characters of the sentence on either side of a mention; 600, of document-first 25.", show_default=False)
    ] = None,
    document_chars: Annotated[int | None, typer.Option(help="Of document-first: most characters of the document; 2,000.", show_default=False)] = None,
    type_dropout: Annotated[float, typer.Option(help="Share of prompts that do not say the type, a fraction.")] = 0.15,
    context_dropout: Annotated[float, typer.Option(help="Share of prompts that are the bare mention, a fraction.")] = 0.0,
    nil: Annotated[
        bool, typer.Option("--nil", help="Teach NIL for mentions annotated as not in the knowledge base; the lexicon must have been built with --nil.")
    ] = False,
    nil_hold_out: Annotated[float, typer.Option(help="Share of the concepts whose mentions are all taught as NIL, a fraction; format.json lists them.")] = 0.0,
    dev_fraction: Annotated[float, typer.Option(help="Share of the human training documents split off as dev, a fraction.")] = 0.1,
    types: Annotated[Path | None, typer.Option(help="JSON table from annotated types to groups; counted on the training documents where not given.")] = None,
    rebase: Annotated[
        bool, typer.Option("--rebase", help="Take synthetic documents made for another knowledge base; each is checked again, what falls out is listed.")
    ] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write examples as Parquet instead of JSON Lines.")] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Turn documents into training examples; dev is split off by document, its own examples are for a refit; test documents are refused."""
    refuse_inputs([output / name for name in _WRITTEN], [*corpus, types])
    refuse_foreign(output, [FORMAT, _UNFINISHED], _WRITTEN, "syncabel examples")
    fmt = format_named(prompt_format, language, context_chars, document_chars)
    settings = ExampleSettings(
        target=target, target_temperature=target_temperature, type_dropout=type_dropout, context_dropout=context_dropout,
        nil=nil, nil_hold_out=nil_hold_out, seed=seed
    )  # fmt: skip
    base, words = KnowledgeBase.load(kb), Lexicon.load(lexicon)
    _check_lexicon(words, lexicon, base)
    documents = TrainingDocuments(corpus, corpus_format, base, rebase)
    if documents.rechecked:
        err.print(f"made for another knowledge base: {documents.rechecked:,} documents, {len(documents.fallen):,} of them do not hold in this one")
    train, dev = documents.split(dev_fraction, seed)
    learnt = [document for document in dev if document.source == "human"]  # by a refit, which adds them to the human ones
    annotations = train.annotations()
    type_map = _type_map(types, annotations, base)
    rows = tracked(make_examples(chain(learnt, train), words, base.canonical, type_map, fmt, settings), "examples")
    output.mkdir(parents=True, exist_ok=True)
    (output / _UNFINISHED).touch()
    (output / FORMAT).unlink(missing_ok=True)  # comes back last: it speaks for a folder that is whole
    suffix, of_dev = ".parquet" if parquet else ".jsonl", islice(rows, sum(len(document.mentions) for document in learnt))
    bad = [*documents.rejections, *documents.fallen, *_write_examples(output, of_dev, suffix, _OF_DEV), *_write_examples(output, rows, suffix, _OF_TRAIN)]
    _write_dev(output, [with_current_codes(document, base) for document in dev])
    _write_json(output / "types.json", dict(type_map.table))
    write_rejections(bad, output / "rejected.jsonl")
    write_format(output, fmt, words, base.digest if documents.rechecked else None, _nil(annotations, annotation_counts(learnt), base, settings))
    (output / _UNFINISHED).unlink()
    err.print(f"dev: {len(dev):,} documents, {len(learnt):,} of them human; types: {dict(type_map.table)}", markup=False)
    err.print(f"rejected: {len(bad):,} {dict(Counter(row.reason for row in bad))} → {output / 'rejected.jsonl'}", markup=False)


def _nil(train: Annotations, dev: Annotations, kb: KnowledgeBase, settings: ExampleSettings) -> dict[str, Any] | None:
    """What format.json says of NIL: the concepts that training, and those that only a refit, sees as NIL, so that whoever evaluates can tell them apart."""
    if not settings.nil:
        return None
    concepts, of_dev = (codes_held_out((code for _, codes in found for code in codes), kb.canonical, settings) for found in (train, dev))
    if settings.nil_hold_out:
        err.print(f"taught as NIL only: {len(concepts):,} concepts, listed in {FORMAT}", markup=False)
    more = sorted(set(of_dev) - set(concepts))
    return {"hold_out": settings.nil_hold_out, "seed": settings.seed, "concepts": list(concepts), **({"refit_concepts": more} if more else {})}


def _check_lexicon(lexicon: Lexicon, folder: Path, kb: KnowledgeBase) -> None:
    made_of = str(lexicon.header["kb_digest"])
    if made_of != kb.digest:
        raise DigestMismatchError(f"{folder}: knowledge base of the lexicon", kb.digest, made_of, "build it from this one with `syncabel lexicon build`")


def _write_examples(output: Path, rows: Iterable[SFTExample | Rejection], suffix: str, names: Mapping[str, str]) -> list[Rejection]:
    """Write examples as they come, each to the file named for its source; returns what became none.

    A file that an earlier run left and this one has nothing for goes.
    """
    bad: list[Rejection] = []
    counts, nil = Counter[str](), 0
    with ExitStack() as stack:
        put: dict[str, Callable[[SFTExample], None]] = {
            source: stack.enter_context(examples_file(output / f"{name}{suffix}")) for source, name in names.items()
        }
        for row in rows:
            if isinstance(row, Rejection):
                bad.append(row)
                continue
            put[row.source](row)
            counts[row.source] += 1
            nil += row.code == NIL_CODE
    for source, name in names.items():
        for other in (".jsonl", ".parquet"):
            if other != suffix or not counts[source]:
                (output / f"{name}{other}").unlink(missing_ok=True)
        err.print(f"{name}: {counts[source]:,} examples", markup=False)
    if nil:
        err.print(f"of these {nil:,} teach NIL", markup=False)
    return bad


def _write_dev(output: Path, dev: list[Document]) -> None:
    """The documents that checkpoints are judged on; an earlier run's go where this one has none."""
    if dev:
        write_jsonl(dev, output / "dev.jsonl")
    else:
        (output / "dev.jsonl").unlink(missing_ok=True)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _type_map(table: Path | None, annotations: Annotations, kb: KnowledgeBase) -> TypeMap:
    if table is None:
        return TypeMap.of_counts(annotations, lambda code: _groups_of(code, kb), kb.groups)
    given = read_type_table(table)
    for group in (group for groups in given.values() for group in groups):
        if group not in kb.groups:
            raise UnknownNameError(f"group in {table}", group, kb.groups)
    return TypeMap(kb.groups, given)


def _groups_of(code: str, kb: KnowledgeBase) -> tuple[str, ...]:
    current = kb.canonical(code)
    return () if current is None else kb.concept(current).groups
