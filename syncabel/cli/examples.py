"""`syncabel examples`: documents to training examples."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data_gen.gates import reason_against
from syncabel.cli.console import err, tracked
from syncabel.corpora import read_corpus, split_documents, write_jsonl, write_rejections
from syncabel.corpora.corpus import refuse_test
from syncabel.errors import DigestMismatchError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.store import Lexicon
from syncabel.prompt import format_named
from syncabel.sft import FORMAT, ExampleSettings, codes_held_out, examples_file, make_examples, read_type_table, write_format
from syncabel.types import NIL_CODE, Document, Mention, Rejection, SFTExample

__all__ = ["examples"]


def examples(
    kb: Annotated[str, typer.Argument(help="Knowledge base: a folder, or `doid`.")],
    corpus: Annotated[list[Path], typer.Argument(help="Training documents: human or synthetic, JSON Lines or PubTator.")],
    lexicon: Annotated[Path, typer.Option(help="Lexicon folder, built for the model's tokenizer.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write: human.jsonl, synthetic.jsonl, dev.jsonl, types.json, format.json, rejected.jsonl.")
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
    parquet: Annotated[bool, typer.Option("--parquet", help="Write human.parquet and synthetic.parquet instead of JSON Lines.")] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Turn documents into training examples; dev is split off by document, test documents are refused."""
    fmt = format_named(prompt_format, language, context_chars, document_chars)
    settings = ExampleSettings(
        target=target,
        target_temperature=target_temperature,
        type_dropout=type_dropout,
        context_dropout=context_dropout,
        nil=nil,
        nil_hold_out=nil_hold_out,
        seed=seed,
    )
    base, words = KnowledgeBase.load(kb), Lexicon.load(lexicon)
    _check_lexicon(words, lexicon, base)
    read = read_corpus(corpus, format=corpus_format)
    refuse_test(read.documents, ", ".join(map(str, corpus)))
    documents, fallen, rebased = _of_this_kb(read.documents, base, rebase)
    train, dev = _split(documents, dev_fraction, seed)
    type_map = _type_map(types, train, base)
    rows = make_examples(train, words, base.canonical, type_map, fmt, settings)
    (output / FORMAT).unlink(missing_ok=True)  # comes back last: it speaks for a folder that is whole
    bad = [*read.rejections, *fallen, *_write_examples(output, tracked(rows, "examples"), ".parquet" if parquet else ".jsonl")]
    _write_dev(output, [_canonical(document, base) for document in dev])
    _write_json(output / "types.json", dict(type_map.table))
    write_rejections(bad, output / "rejected.jsonl")
    write_format(output, fmt, words, base.digest if rebased else None, _nil(train, base, settings))
    err.print(f"dev: {len(dev):,} documents; types: {dict(type_map.table)}", markup=False)
    err.print(f"rejected: {len(bad):,} {dict(Counter(row.reason for row in bad))} → {output / 'rejected.jsonl'}", markup=False)


def _nil(documents: list[Document], kb: KnowledgeBase, settings: ExampleSettings) -> dict[str, Any] | None:
    """What format.json says of NIL: the concepts that training sees as NIL only, so that whoever evaluates can tell them apart."""
    if not settings.nil:
        return None
    concepts = codes_held_out(documents, kb.canonical, settings)
    if settings.nil_hold_out:
        err.print(f"taught as NIL only: {len(concepts):,} concepts, listed in {FORMAT}", markup=False)
    return {"hold_out": settings.nil_hold_out, "seed": settings.seed, "concepts": list(concepts)}


def _check_lexicon(lexicon: Lexicon, folder: Path, kb: KnowledgeBase) -> None:
    made_of = str(lexicon.header["kb_digest"])
    if made_of != kb.digest:
        raise DigestMismatchError(f"{folder}: knowledge base of the lexicon", kb.digest, made_of, "build it from this one with `syncabel lexicon build`")


def _of_this_kb(documents: Iterable[Document], kb: KnowledgeBase, rebase: bool) -> tuple[list[Document], list[Rejection], int]:
    """The documents to use, those made for another knowledge base that do not hold in this one, and how many were made for another."""
    kept: list[Document] = []
    fallen: list[Rejection] = []
    rechecked = 0
    for document in documents:
        made_for = document.provenance.kb_digest if document.provenance else ""
        if made_for in ("", kb.digest):
            kept.append(document)
            continue
        if not rebase:
            hint = "generate again, or take what still holds with --rebase"
            raise DigestMismatchError(f"document {document.id!r} was generated for another knowledge base", kb.digest, made_for, hint)
        row = _rechecked(document, kb)
        rechecked += 1
        if isinstance(row, Rejection):
            fallen.append(row)
        else:
            kept.append(row)
    if rechecked:
        err.print(f"made for another knowledge base: {rechecked:,} documents, {len(fallen):,} of them do not hold in this one", markup=False)
    return kept, fallen, rechecked


def _rechecked(document: Document, kb: KnowledgeBase) -> Document | Rejection:
    """The document with current codes, or why the gates of generation refuse it now."""
    written_for = document.provenance.concept if document.provenance else ""
    code = kb.canonical(written_for)
    if code is None:
        return Rejection(document.id, written_for, "unknown_code", document.text)
    current = _canonical(document, kb)
    reason = reason_against(current, kb.concept(code), kb)
    return Rejection(document.id, code, reason, document.text) if reason else current


def _write_examples(output: Path, rows: Iterable[SFTExample | Rejection], suffix: str) -> list[Rejection]:
    """Write examples by source as they come; returns what became none.  A file that an earlier run left and this one has nothing for goes."""
    bad: list[Rejection] = []
    counts, nil = Counter[str](), 0
    with ExitStack() as stack:
        put: dict[str, Callable[[SFTExample], None]] = {
            source: stack.enter_context(examples_file(output / f"{source}{suffix}")) for source in ("human", "synthetic")
        }
        for row in rows:
            if isinstance(row, Rejection):
                bad.append(row)
                continue
            put[row.source](row)
            counts[row.source] += 1
            nil += row.code == NIL_CODE
    for source in put:
        for other in (".jsonl", ".parquet"):
            if other != suffix or not counts[source]:
                (output / f"{source}{other}").unlink(missing_ok=True)
        err.print(f"{source}: {counts[source]:,} examples", markup=False)
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
    if table is None:
        return TypeMap.counted(train, lambda code: _groups_of(code, kb), kb.groups)
    given = read_type_table(table)
    for group in (group for groups in given.values() for group in groups):
        if group not in kb.groups:
            raise UnknownNameError(f"group in {table}", group, kb.groups)
    return TypeMap(kb.groups, given)


def _groups_of(code: str, kb: KnowledgeBase) -> tuple[str, ...]:
    current = kb.canonical(code)
    return () if current is None else kb.concept(current).groups
