"""`syncabel corpus convert|check|split|stats`: read a corpus, say what could not be taken, what is in it, and deal it out."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from syncabel.cli.console import err, out, print_json
from syncabel.corpora import (
    FORMATS,
    Corpus,
    CorpusCheck,
    Figures,
    check_corpus,
    corpus_stats,
    read_corpus,
    split_by_fractions,
    write_jsonl,
    write_pubtator,
    write_rejections,
    write_stats,
)
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.sft import read_type_table
from syncabel.types import Document, Rejection

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Annotated texts: convert them, check them against a knowledge base, split them, draw what is in them.")

TARGETS = ("jsonl", "brat", "bigbio", "pubtator")

_SOURCES = typer.Argument(..., metavar="SOURCE...", help="Corpus files or folders; files plain or .gz.", show_default=False)
_FORMAT = typer.Option("auto", "--format", help=f"auto, {', '.join(FORMATS)}.")
_SPLIT = typer.Option(None, "--split", help="train, dev or test; by default taken from the names of official files.")
_TRAIN = typer.Option(None, "--train", metavar="DOCS", help="Training documents that are not among the sources; may be given several times.")
_TYPES = typer.Option(None, "--types", help="JSON table from annotated types to groups; counted on the training documents where not given.")
_JSON = typer.Option(False, "--json", help="One JSON object instead of the table.")

_OUTPUT = typer.Option(..., "-o", "--output", metavar="DOCS", help="What to write: a file, for brat a folder.", show_default=False)
_FOLDER = typer.Option(..., "-o", "--output", metavar="DIR", help="Folder to write.", show_default=False)


@app.command()
def convert(
    sources: list[Path] = _SOURCES,
    output: Path = _OUTPUT,
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    to: str = typer.Option("jsonl", "--to", help=f"{', '.join(TARGETS)}."),
) -> None:
    """Write a corpus as JSON Lines or in another format; what is left out goes to a .rejected.jsonl file beside it with the reason."""
    if to not in TARGETS:
        raise UnknownNameError("target format", to, TARGETS)
    corpus = read_corpus(sources, format_, split)
    unsaid = _write(corpus.documents, output, to)
    rejected = output.with_name(output.name.removesuffix(".jsonl") + ".rejected.jsonl")
    if corpus.rejections or unsaid:
        write_rejections([*corpus.rejections, *unsaid], rejected)
    else:
        rejected.unlink(missing_ok=True)  # what an earlier run left there is no longer true
    mentions = sum(1 for _ in corpus.mentions())
    out.print(f"{len(corpus)} documents with {mentions} mentions written to {output}" if not unsaid else f"{len(corpus)} documents written to {output}")
    aside = f" (see {rejected})" if corpus.rejections else ""
    out.print(f"{corpus.rows_kept} rows kept + {len(corpus.rejections)} rejected = {corpus.rows_read} read{aside}")
    for reason, count in Counter(rejection.reason for rejection in unsaid).most_common():
        err.print(f"{count:,} of {mentions:,} mentions cannot be said in {to}: {reason} (see {rejected})")


def _write(documents: Sequence[Document], output: Path, to: str) -> Sequence[Rejection]:
    """Write documents in a format; returns what it cannot say."""
    if to == "pubtator":
        return write_pubtator(documents, output)
    if to == "brat":
        from syncabel.corpora.brat import write_brat

        write_brat(documents, output)
    elif to == "bigbio":
        from syncabel.corpora.bigbio import write_bigbio

        write_bigbio(documents, output)
    else:
        write_jsonl(documents, output)
    return ()


@app.command()
def check(
    sources: list[Path] = _SOURCES,
    kb: str | None = typer.Option(None, "--kb", help="A knowledge base: its folder, or the name of a shipped one (doid)."),
    train: list[Path] | None = _TRAIN,
    types: Path | None = _TYPES,
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    json_: bool = _JSON,
) -> None:
    """Offsets, duplicates, codes against a knowledge base, the ceiling of the types, and what the splits share."""
    corpus = read_corpus(sources, format_, split)
    trained = read_corpus(train, format_, "train").documents if train else ()
    base = KnowledgeBase.load(kb) if kb is not None else None
    table, counted_on = _type_table(types, corpus, trained, base)
    result = check_corpus(corpus, base, trained, table)
    _report_rejections(corpus)
    if json_:
        print_json({**dataclasses.asdict(result), "type_table_of": counted_on})
        return
    if kb is not None:
        out.print(f"against {kb}")
    for shown in _tables(result, counted_on):
        out.print(shown)


def _type_table(given: Path | None, corpus: Corpus, train: Sequence[Document], kb: KnowledgeBase | None) -> tuple[Mapping[str, tuple[str, ...]] | None, str]:
    """The table from types to groups, and where it comes from."""
    if kb is None:
        return None, ""
    if given is not None:
        return read_type_table(given), str(given)
    own = [document for document in corpus if document.split == "train"]
    documents, where = (train, "--train") if train else (own, "the documents of split train") if own else (corpus.documents, "the documents checked")

    def groups_of(code: str) -> tuple[str, ...]:
        current = kb.canonical(code)
        return () if current is None else kb.concept(current).groups

    counted = TypeMap.counted(documents, groups_of, kb.groups)
    kinds = {mention.type for _, mention in corpus.mentions() if mention.type is not None}
    known = {kind: _groups(counted, kind) for kind in sorted(kinds)}
    return {kind: groups for kind, groups in known.items() if groups}, where


def _groups(table: TypeMap, kind: str) -> tuple[str, ...]:
    try:
        return table.of(kind)
    except UnknownNameError:  # the table leaves it out: its mentions lie above the ceiling
        return ()


@app.command("split")
def split_(
    sources: list[Path] = _SOURCES,
    output: Path = _FOLDER,
    fractions: str = typer.Option("train=0.8,dev=0.1,test=0.1", "--fractions", help="Share of the documents per split, together 1."),
    seed: int = typer.Option(0, "--seed", help="Random seed."),
    format_: str = _FORMAT,
) -> None:
    """Deal documents out to DIR/train.jsonl, dev.jsonl and test.jsonl, each with its share of every type; a document is never cut."""
    shares = _fractions(fractions)
    corpus = read_corpus(sources, format_)
    parts = split_by_fractions(corpus.documents, shares, seed)
    _report_rejections(corpus)
    for name in ("train", "dev", "test"):
        if name not in parts:
            (output / f"{name}.jsonl").unlink(missing_ok=True)  # an earlier run's would be part of no split of this one
    for name, documents in parts.items():
        write_jsonl(documents, output / f"{name}.jsonl")
        kinds = Counter(mention.type or "no type" for document in documents for mention in document.mentions)
        of_types = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
        out.print(f"{name}: {len(documents):,} documents, {kinds.total():,} mentions" + (f" ({of_types})" if of_types else ""))


def _fractions(text: str) -> dict[str, float]:
    """`train=0.8,dev=0.2` as a table."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ConfigError(f"--fractions {text!r}: {part!r} is no share; write e.g. train=0.8,dev=0.1,test=0.1") from None
    return shares


@app.command()
def stats(
    sources: list[Path] = _SOURCES,
    output: Path = _FOLDER,
    train: list[Path] | None = _TRAIN,
    title: str | None = typer.Option(None, "--title", help="Name of the corpus over the figures; by default that of the first source."),
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
) -> None:
    """Draw mentions per concept, length of mentions and what training shows of the rest, and write the numbers to DIR/stats.json."""
    corpus = read_corpus(sources, format_, split)
    trained = read_corpus(train, format_, "train").documents if train else ()
    _report_rejections(corpus)
    for path in write_stats(corpus_stats(corpus.documents, trained), output, title or sources[0].name.split(".")[0]):
        out.print(str(path))


def _report_rejections(corpus: Corpus) -> None:
    """One line per file and reason on standard error, with the first place; the rows themselves only go to files."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for rejection in corpus.rejections:
        key = (rejection.where.rpartition(":")[0], rejection.reason)
        counts[key] += 1
        first.setdefault(key, rejection.where)
    for key, count in counts.items():
        err.print(f"{first[key]}: first of {count} rows rejected as {key[1]}; `syncabel corpus convert` writes them out", markup=False)


def _tables(result: CorpusCheck, counted_on: str) -> list[Table]:
    """The check as a person reads it, a table a question."""
    tables = [_counts(result), _figures("split", result.splits), _figures("type", result.types)]
    if result.kb is not None:
        tables += [_figures("group", result.kb.groups)] if result.kb.groups else []
        types = _grid(f"types and groups, counted on {counted_on}", "type", "groups", "annotated", "reachable")
        for kind, row in result.kb.types.items():
            types.add_row(Text(kind or "no type"), Text("|".join(row.groups) or "none"), f"{row.annotated:,}", _percent(row.reachable, row.annotated))
        tables.append(types)
    if result.overlaps:
        shared = _grid("what parts share (documents of the second)", "first", "second", "ids", "texts", "sentences", "documents")
        for pair in result.overlaps:
            shared.add_row(pair.first, pair.second, *(f"{count:,}" for count in (pair.ids, pair.texts, pair.sentence_documents, pair.documents)))
        tables.append(shared)
    return tables


def _grid(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for number, name in enumerate(columns):
        counted = number > 0 and name not in ("groups", "second")
        table.add_column(name, justify="right" if counted else "left", no_wrap=counted, overflow="fold")
    return table


def _percent(part: int | None, whole: int) -> str:
    return "" if part is None or not whole else f"{part / whole:.1%}"


def _figures(what: str, rows: Mapping[str, Figures]) -> Table:
    with_kb = any(row.codes_in_kb is not None for row in rows.values())
    table = _grid(f"by {what}", what, "docs", "mentions", "coded", "NIL", "codes", *(("in KB", "mentions in KB") if with_kb else ()))
    for name, row in rows.items():
        counts = (row.documents, row.mentions, row.annotated, row.nil, row.codes)
        shares = (_percent(row.codes_in_kb, row.codes), _percent(row.mentions_in_kb, row.annotated)) if with_kb else ()
        table.add_row(Text(name or f"no {what}"), *(f"{count:,}" for count in counts), *shares)
    return table


def _counts(result: CorpusCheck) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("documents", "mentions", "annotated", "nil", "unannotated", "composite", "alternatives", "discontinuous", "abbreviations", "codes"):
        table.add_row("not in the vocabulary (NIL)" if name == "nil" else name, f"{getattr(result, name):,}")
    if result.kb is not None:
        table.add_row("codes in the knowledge base", _percent(result.codes_in_kb, result.codes))
        table.add_row("mentions in the knowledge base", _percent(result.mentions_in_kb, result.annotated))
        table.add_row("codes of concepts + alternative ones", f"{result.kb.canonical:,} + {result.kb.alternative:,}")
        for what, codes in (("retired", result.kb.retired_codes), ("unknown", result.kb.unknown_codes)):
            table.add_row(f"{what} codes", f"{len(codes):,}")
            for code, count in list(codes.items())[:5]:
                table.add_row(Text(f"  {what}: {code}"), f"{count:,}")
        table.add_row("codes with a name others share (no name of their own)", f"{result.kb.sharing_names:,} ({result.kb.only_shared_names:,})")
        table.add_row("mentions of such codes", f"{result.kb.mentions_sharing_names:,}")
        table.add_row("mentions whose text is a shared name", f"{result.kb.mentions_with_shared_surface:,}")
        if result.kb.ceiling is not None:
            table.add_row("ceiling under the groups of the types", f"{result.kb.ceiling:.1%}")
    table.add_row("documents that leak from a part before them", f"{result.leaks:,}")
    table.add_row("documents with the text of another", f"{result.duplicate_texts:,}")
    for reason, count in result.rejections.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    return table
