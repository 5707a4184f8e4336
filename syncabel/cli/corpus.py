"""`syncabel corpus convert|check|split|stats|sources`: read a corpus, say what could not be taken, what is in it, and deal it out."""

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from syncabel.cli.console import err, out, print_json
from syncabel.cli.outputs import refuse_foreign, refuse_inputs
from syncabel.corpora import (
    DIALECTS,
    FORMATS,
    SOURCES,
    Corpus,
    CorpusCheck,
    Figures,
    check_corpus,
    corpus_stats,
    format_of,
    read_bigbio,
    read_brat,
    read_corpus,
    read_pubtator,
    read_spaccc,
    split_by_fractions,
    write_bigbio,
    write_brat,
    write_jsonl,
    write_pubtator,
    write_rejections,
    write_stats,
)
from syncabel.corpora.brat import ANNOTATIONS, DOCUMENTS, TYPES, foreign_files
from syncabel.corpora.places import Seen
from syncabel.corpora.sources import source_of
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.sft import read_type_table
from syncabel.types import Document, Mention, Rejection

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Annotated texts: convert them, check them against a knowledge base, split them, draw what is in them.")

TARGETS = ("jsonl", "brat", "bigbio", "pubtator")
_DIALECT_OF = {"pubtator-ncbi": "ncbi_disease", "pubtator-bc5cdr": "bc5cdr", "pubtator-medmentions": "medmentions"}
_IN_FOLDERS = (".txt", ".tsv", *ANNOTATIONS)  # what is read of a folder
_FIELDS = ("text", "language", "split", "source", "provenance", "abbreviations")
_GROUP_BY = "Regular expression for ids; documents with the same first group, as in '^([0-9]+)_', stay together."

_SOURCES = typer.Argument(..., metavar="SOURCE...", help="Corpus files or folders; files plain or .gz.", show_default=False)
_FORMAT = typer.Option("auto", "--format", help=f"auto, {', '.join(FORMATS)}.")
_SPLIT = typer.Option(None, "--split", help="train, dev or test; by default taken from the names of official files.")
_TRAIN = typer.Option(None, "--train", metavar="DOCS", help="Training documents that are not among the sources; may be given several times.")
_TYPES = typer.Option(None, "--types", help="JSON table from annotated types to groups; counted on the training documents where not given.")
_GROUPS = typer.Option(None, "--types", help="JSON table from annotated types to groups; each split then gets its share of every group.")
_JSON = typer.Option(False, "--json", help="One JSON object instead of the table.")

_LANGUAGE = typer.Option(None, "--language", help="ISO 639-1 code, for formats and documents that do not state it.")
_SEVERAL = typer.Option(None, "--several", help="What several codes of a mention are, alternatives or together, in formats that leave it open.")
_TEXTS = typer.Option(None, "--texts", help="Folder or archive with the texts of the tables; with spaccc.")
_NOTE_CODES = typer.Option(None, "--note-codes", metavar="REGEX", help="What a code in a note looks like, as '[0-9][A-Z][0-9]{2}'; with brat and quaero.")

_OUTPUT = typer.Option(..., "-o", "--output", metavar="DOCS", help="What to write: a file, for brat a folder.", show_default=False)
_FOLDER = typer.Option(..., "-o", "--output", metavar="DIR", help="Folder to write.", show_default=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        format: a key of `FORMATS`, or `auto`.
        language, several: as `read_corpus` takes them.
        texts: folder or archive with the texts of tables; None leaves what the reader looks for.
        codes: regular expression of a whole code in a note of BRAT; None leaves what the reader knows.
    """

    format: str = "auto"
    language: str | None = None
    several: str | None = None
    texts: Path | None = None
    codes: str | None = None

    def read(self, paths: Sequence[Path], split: str | None) -> Corpus:
        """What `read_corpus` does, with these options.

        Raises:
            ConfigError: a language that is no code, or an option that says nothing to a file's format.
        """
        if self.language is not None and not re.fullmatch("[a-z]{2}", self.language):
            raise ConfigError(f"--language: {self.language!r} is no ISO 639-1 code, e.g. fr")
        if self.codes is not None:
            self._only_for(("brat", "quaero"), "--note-codes", paths)
        if self.texts is not None:
            return self._tables(paths, self.texts, split)
        return read_corpus(paths, self.format, split, language=self.language, several=self.several, codes=self.codes)

    def _only_for(self, formats: Sequence[str], option: str, paths: Sequence[Path]) -> None:
        for path in paths:
            if (name := format_of(path) if self.format == "auto" else self.format) not in formats:
                raise ConfigError(f"{option}: {path} is {name}, which has no such option; leave it out")

    def _tables(self, paths: Sequence[Path], texts: Path, split: str | None) -> Corpus:
        self._only_for(("spaccc",), "--texts", paths)
        if self.several is not None:
            raise ConfigError(f"--several: {paths[0]} is spaccc, which has no such option; leave it out")
        seen: Seen = {}
        parts = []
        for path in paths:
            official = source_of(path)
            own = split or (official.split if official else None)
            parts.append(read_spaccc(path, split=own, seen=seen, language=self.language or SOURCES["spaccc"].language, texts=texts))
        return Corpus(
            tuple(document for part in parts for document in part.documents),
            tuple(rejection for part in parts for rejection in part.rejections),
            sum(part.rows_read for part in parts),
        )


@app.command()
def convert(
    sources: list[Path] = _SOURCES,
    output: Path = _OUTPUT,
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    to: str = typer.Option("jsonl", "--to", help=f"{', '.join(TARGETS)}."),
    language: str | None = _LANGUAGE,
    several: str | None = _SEVERAL,
    texts: Path | None = _TEXTS,
    note_codes: str | None = _NOTE_CODES,
    dialect: str | None = typer.Option(None, "--dialect", help=f"Of pubtator, {', '.join(DIALECTS)}; by default the source's, else generic."),
) -> None:
    """Write a corpus as JSON Lines or in another format; what is left out goes to a .rejected.jsonl file beside it with the reason."""
    _refuse_target(to, output, dialect)
    rejected = _rejected_beside(output)
    _refuse_overwriting(sources, texts, output, rejected, to)
    corpus = Reading(format_, language, several, texts, note_codes).read(sources, split)
    _refuse_empty(corpus, output, rejected)
    spoken = dialect or (_dialect_of(sources, format_) if to == "pubtator" else "")
    unsaid = _write(corpus.documents, output, to, spoken)
    if corpus.rejections or unsaid:
        write_rejections([*corpus.rejections, *unsaid], rejected)
    else:
        rejected.unlink(missing_ok=True)  # what an earlier run left there is no longer true
    _say_written(corpus.documents, unsaid, output, to, rejected)
    aside = f" (see {rejected})" if corpus.rejections else ""
    out.print(f"{corpus.rows_kept} rows kept + {len(corpus.rejections)} rejected = {corpus.rows_read} read{aside}")
    lost = {} if to == "jsonl" else _not_kept(corpus.documents, {rejection.where for rejection in unsaid if rejection.reason == "id"}, output, to, spoken)
    if lost:
        out.print(f"not kept in {to}: {', '.join(f'{what} ({count:,})' for what, count in lost.items())}")


def _refuse_target(to: str, output: Path, dialect: str | None) -> None:
    """What cannot be written is said before anything is read."""
    if to not in TARGETS:
        raise UnknownNameError("target format", to, TARGETS)
    if dialect is not None and to != "pubtator":
        raise ConfigError(f"--dialect: it is for --to pubtator, not for {to}")
    if dialect is not None and dialect not in DIALECTS:
        raise UnknownNameError("PubTator dialect", dialect, DIALECTS)
    if to != "brat" and output.is_dir():
        raise ConfigError(f"--output: {output} is a folder; name the {to} file to write, e.g. {output / 'corpus.jsonl'}")
    if to == "brat" and output.exists() and not output.is_dir():
        raise ConfigError(f"--output: {output} is a file; brat takes a folder")


def _rejected_beside(output: Path) -> Path:
    named = output.resolve() if output.name in ("", "..") else output  # those folders have no name as they are written
    return named.with_name(named.name.removesuffix(".jsonl") + ".rejected.jsonl")


def _refuse_overwriting(sources: Sequence[Path], texts: Path | None, output: Path, rejected: Path, to: str) -> None:
    """Annotations are hours of somebody's work, and not all of a source is in what is read of it: neither it nor anybody's else is written over."""
    read = [file for source in (*sources, *([texts] if texts else [])) for file in _read_of(source)]
    if to != "brat":
        refuse_inputs([output, rejected], read)
        return
    # A document's files are called by its id, so that any source inside of the folder may be one of them.
    around = [folder for source in sources if source.is_dir() or source.suffix in _IN_FOLDERS for folder in source.resolve().parents]
    refuse_inputs([output, rejected, output / DOCUMENTS, output / TYPES], [*read, *(folder for folder in around if (folder / DOCUMENTS).exists())])
    refuse_foreign(output, (), foreign_files(output), "syncabel corpus convert --to brat")


def _read_of(source: Path) -> Iterator[Path]:
    yield source
    if source.is_dir():
        yield from (file for file in source.rglob("*") if file.suffix in _IN_FOLDERS)
    elif source.suffix in _IN_FOLDERS:
        yield from (source.with_suffix(suffix) for suffix in (".txt", *ANNOTATIONS))


def _refuse_empty(corpus: Corpus, output: Path, rejected: Path) -> None:
    """Nothing that could be read is no corpus: why is written, and an earlier output stays as it is."""
    if corpus.documents or not corpus.rejections:
        return
    write_rejections(corpus.rejections, rejected)
    first = corpus.rejections[0]
    problem = f"{first.where}: {first.reason}: first of {len(corpus.rejections)} rows, all rejected"
    raise FormatError(f"{problem}; {rejected} says why, and {output} is not written")


def _dialect_of(sources: Sequence[Path], format_: str) -> str:
    """The dialect the sources are in, so that what its separators say can be said again; the generic one where they are in none or in several."""
    found = {_DIALECT_OF.get(format_of(path) if format_ == "auto" else format_, "generic") for path in sources}
    return found.pop() if len(found) == 1 else "generic"


def _write(documents: Sequence[Document], output: Path, to: str, dialect: str) -> Sequence[Rejection]:
    """Write documents in a format; returns what it cannot say."""
    if to == "pubtator":
        return write_pubtator(documents, output, dialect)
    if to == "brat":
        write_brat(documents, output)
    elif to == "bigbio":
        write_bigbio(documents, output)
    else:
        write_jsonl(documents, output)
    return ()


def _say_written(documents: Sequence[Document], unsaid: Sequence[Rejection], output: Path, to: str, rejected: Path) -> None:
    """How much was written on standard output, and on standard error what could not be: documents and mentions apart."""
    missing = {rejection.where for rejection in unsaid if rejection.reason == "id"}  # of whole documents; every other reason is of a mention
    every, lost = sum(len(document.mentions) for document in documents), sum(len(document.mentions) for document in documents if document.id in missing)
    single = Counter(rejection.reason for rejection in unsaid if rejection.reason != "id")
    out.print(f"{len(documents) - len(missing):,} documents with {every - lost - single.total():,} mentions written to {output}")
    if missing:
        err.print(f"{len(missing):,} of {len(documents):,} documents, with {lost:,} mentions, cannot be said in {to}: id (see {rejected})")
    for reason, count in single.most_common():
        hint = "; another --dialect may have a separator for them" if reason == "answers" else ""
        err.print(f"{count:,} of {every:,} mentions cannot be said in {to}: {reason} (see {rejected}){hint}")


def _not_kept(documents: Sequence[Document], missing: Set[str], output: Path, to: str, dialect: str) -> dict[str, int]:
    """What reading the output again does not give back, with counts; documents and mentions that were not written are said apart."""
    written = [document for document in documents if document.id not in missing]
    if not written:
        return {}
    readers: dict[str, Callable[..., Corpus]] = {"brat": read_brat, "bigbio": read_bigbio, "pubtator": partial(read_pubtator, dialect=dialect)}
    back = {document.id: document for document in readers[to](output).documents}
    lost = Counter[str]()
    for document in written:
        if (again := back.get(document.id)) is None:
            lost["documents under their id"] += 1
            continue
        lost.update(f"{name} of documents" for name in _FIELDS if getattr(document, name) != getattr(again, name))
        lost.update(f"{name} of mentions" for name in _changed(document.mentions, again.mentions))
    return dict(lost)


def _changed(mentions: Sequence[Mention], again: Sequence[Mention]) -> Iterator[str]:
    """The fields in which mentions of the same place differ."""
    places: dict[tuple[int, int], list[Mention]] = defaultdict(list)
    for mention in again:
        places[_place(mention)].append(mention)
    for mention in mentions:
        if same := places[_place(mention)]:
            other = next((one for one in same if (one.type, one.answers) == (mention.type, mention.answers)), same[0])
            same.remove(other)
            yield from (what for what in ("id", "type", "answers", "spans") if getattr(mention, what) != getattr(other, what))


def _place(mention: Mention) -> tuple[int, int]:
    """A line end inside a fragment may make two of one: from the first one's start to the last one's end it is the same place."""
    return mention.start, mention.end


@app.command("sources")
def sources_(json_: bool = _JSON) -> None:
    """The corpora that have been read: language, licence, how to obtain them, their files, and what their codes' separators mean."""
    if json_:
        print_json(
            {
                name: {
                    "title": source.title,
                    "language": source.language,
                    "licence": source.licence,
                    "obtain": source.obtain,
                    "format": source.format,
                    "files": [dataclasses.asdict(file) for file in source.files],
                    "answers": source.answers,
                    "type_groups": None if source.type_groups is None else dict(source.type_groups),
                    "shareable": source.shareable,
                }
                for name, source in SOURCES.items()
            }
        )
        return
    for name, source in SOURCES.items():
        out.print(f"{name}: {source.title}")
        rows = {
            "language": source.language,
            "licence": source.licence,
            "obtain": source.obtain,
            "--format": source.format,
            "files": ", ".join(f"{file.name} ({file.split or 'no split of its own'})" for file in source.files),
            "codes": source.answers,
            "groups": ", ".join(f"{kind} → {group}" for kind, group in (source.type_groups or {}).items()) or "by the knowledge base",
            "shareable": "yes" if source.shareable else "no: its text stays on this machine",
        }
        for what, value in rows.items():
            out.print(f"  {what:<10}{value}")


@app.command()
def check(
    sources: list[Path] = _SOURCES,
    kb: str | None = typer.Option(None, "--kb", help="A knowledge base: its folder, or the name of a shipped one (doid)."),
    train: list[Path] | None = _TRAIN,
    types: Path | None = _TYPES,
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    language: str | None = _LANGUAGE,
    several: str | None = _SEVERAL,
    texts: Path | None = _TEXTS,
    json_: bool = _JSON,
) -> None:
    """Offsets, duplicates, codes against a knowledge base, the ceiling of the types, and what the splits share."""
    reading = Reading(format_, language, several, texts)
    corpus, trained = reading.read(sources, split), _trained(reading, train)
    base = KnowledgeBase.load(kb) if kb is not None else None
    table, origin = (None, "") if base is None else _type_table(types, sources, corpus, trained.documents, base)
    result = check_corpus(corpus, base, trained.documents, table)
    _report_rejections(corpus)
    _report_rejections(trained)
    left_out = dict(Counter(rejection.reason for rejection in trained.rejections).most_common())
    if json_:
        print_json({**dataclasses.asdict(result), "type_table_of": origin, "train_rejections": left_out})
        return
    if kb is not None:
        out.print(f"against {kb}")
    for shown in _tables(result, origin, left_out):
        out.print(shown)


def _trained(reading: Reading, train: Sequence[Path] | None) -> Corpus:
    return reading.read(train, "train") if train else Corpus(())


def _type_table(
    given: Path | None, sources: Sequence[Path], corpus: Corpus, train: Sequence[Document], kb: KnowledgeBase
) -> tuple[Mapping[str, tuple[str, ...]] | None, str]:
    """The table from types to groups, and where it comes from: given, declared for the source, or counted on training documents.

    There is none for dev and test documents alone: a table counted on gold codes says how good it is on these very codes.
    """
    kinds = {mention.type for _, mention in corpus.mentions() if mention.type is not None}
    if given is not None:
        table = read_type_table(given)
        for group in (group for groups in table.values() for group in groups):
            if group not in kb.groups:
                raise UnknownNameError("group", group, kb.groups)
        return _rows(TypeMap(kb.groups, table), kinds), f"from {given}"
    own = [document for document in corpus if document.split == "train"] or [document for document in corpus if document.split is None]
    if declared := None if train else _declared(sources, kb):
        return _rows(TypeMap(kb.groups, declared), kinds), "as declared for the source"
    if not (train or own):
        return None, ""
    documents, where = (train, "counted on --train") if train else (own, "counted on the documents that are neither dev nor test")

    def groups_of(code: str) -> tuple[str, ...]:
        current = kb.canonical(code)
        return () if current is None else kb.concept(current).groups

    return _rows(TypeMap.counted(documents, groups_of, kb.groups), kinds), where


def _declared(sources: Sequence[Path], kb: KnowledgeBase) -> dict[str, tuple[str, ...]] | None:
    """The table that is declared for the one source all files are of, where the knowledge base has its groups."""
    names = {official.source if (official := source_of(path)) else None for path in sources}
    table = SOURCES[name].type_groups if len(names) == 1 and (name := names.pop()) else None
    return {kind: (group,) for kind, group in table.items()} if table and set(table.values()) <= set(kb.groups) else None


def _rows(table: TypeMap, kinds: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The table's row for each type of a corpus, those without one left out."""
    known = {kind: _groups(table, kind) for kind in sorted(kinds)}
    return {kind: groups for kind, groups in known.items() if groups}


def _groups(table: TypeMap, kind: str) -> tuple[str, ...]:
    try:
        return table.of(kind)
    except UnknownNameError:  # the table leaves it out: its mentions lie above the ceiling
        return ()


_SPLIT_MARK = "split.json"  # says that the folder's train, dev and test are an earlier split's


@app.command("split")
def split_(
    sources: list[Path] = _SOURCES,
    output: Path = _FOLDER,
    fractions: str = typer.Option("train=0.8,dev=0.1,test=0.1", "--fractions", help="Share of the documents per split, together 1."),
    seed: int = typer.Option(0, "--seed", help="Random seed."),
    group_by: str | None = typer.Option(None, "--group-by", metavar="REGEX", help=_GROUP_BY),
    types: Path | None = _GROUPS,
    format_: str = _FORMAT,
    language: str | None = _LANGUAGE,
    several: str | None = _SEVERAL,
    texts: Path | None = _TEXTS,
) -> None:
    """Deal documents out to DIR/train.jsonl, dev.jsonl and test.jsonl, each with its share of every type; documents of equal text stay together."""
    shares = _fractions(fractions)
    files = [f"{name}.jsonl" for name in ("train", "dev", "test")]
    refuse_inputs([output / name for name in files], sources)
    refuse_foreign(output, [_SPLIT_MARK], files, "syncabel corpus split")
    strata = _strata(read_type_table(types)) if types else None
    corpus = Reading(format_, language, several, texts).read(sources, None)
    parts = split_by_fractions(corpus.documents, shares, seed, group_by, strata)
    _report_rejections(corpus)
    output.mkdir(parents=True, exist_ok=True)
    made = {"sources": [path.name for path in sources], "fractions": shares, "seed": seed, "documents": {name: len(part) for name, part in parts.items()}}
    (output / _SPLIT_MARK).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    for name in files:
        if name.removesuffix(".jsonl") not in parts:
            (output / name).unlink(missing_ok=True)  # an earlier run's would be part of no split of this one
    for name, documents in parts.items():
        write_jsonl(documents, output / f"{name}.jsonl")
        kinds = Counter(mention.type or "no type" for document in documents for mention in document.mentions)
        of_types = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
        out.print(f"{name}: {len(documents):,} documents, {kinds.total():,} mentions" + (f" ({of_types})" if of_types else ""))


def _strata(table: Mapping[str, tuple[str, ...]]) -> Callable[[Mention], tuple[str, ...]]:
    known = TypeMap(tuple(dict.fromkeys(group for groups in table.values() for group in groups)), table)
    return lambda mention: known.of(mention.type) or ("",)


def _fractions(text: str) -> dict[str, float]:
    """`train=0.8,dev=0.2` as a table."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (piece.strip() for piece in part.partition("="))
        if name in shares:
            raise ConfigError(f"--fractions {text!r}: {name} stands there twice; give each split one share")
        try:
            shares[name] = float(share)
        except ValueError:
            raise ConfigError(f"--fractions {text!r}: {part!r} is no share; write e.g. train=0.8,dev=0.1,test=0.1") from None
    return shares


@app.command()
def stats(
    sources: list[Path] = _SOURCES,
    output: Path = _FOLDER,
    train: list[Path] | None = _TRAIN,
    title: str | None = typer.Option(
        None, "--title", help="Name of the corpus over the figures; by default that of the file, of several that of their folder."
    ),
    format_: str = _FORMAT,
    split: str | None = _SPLIT,
    language: str | None = _LANGUAGE,
    several: str | None = _SEVERAL,
    texts: Path | None = _TEXTS,
) -> None:
    """Draw mentions per concept, length of mentions and what training shows of the rest, and write the numbers to DIR/stats.json."""
    reading = Reading(format_, language, several, texts)
    corpus, trained = reading.read(sources, split), _trained(reading, train)
    _report_rejections(corpus)
    _report_rejections(trained)
    for path in write_stats(corpus_stats(corpus.documents, trained.documents), output, title or _title(sources)):
        out.print(str(path))


def _title(sources: Sequence[Path]) -> str:
    """The name of the one source, the folder that several have in common, else how many there are."""
    whole = [path.resolve() for path in sources]
    folders = {path.parent.name for path in whole} if len({path.parent for path in whole}) == 1 else set()
    name = whole[0].name.split(".")[0] if len(whole) == 1 else next(iter(folders), "")
    return name or f"{len(sources)} files"


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


def _tables(result: CorpusCheck, origin: str, left_out_of_train: Mapping[str, int]) -> list[Table]:
    """The check as a person reads it, a table a question."""
    tables = [_counts(result, left_out_of_train), _figures("split", result.splits), _figures("type", result.types)]
    if result.kb is not None:
        tables += [_figures("group", result.kb.groups)] if result.kb.groups else []
        types = _grid(f"types and groups, {origin}", "type", "groups", "annotated", "reachable")
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


def _counts(result: CorpusCheck, left_out_of_train: Mapping[str, int]) -> Table:
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
        table.add_row("codes with a name others share, case aside (as written)", f"{result.kb.sharing_names:,} ({result.kb.sharing_names_as_written:,})")
        table.add_row("of these, codes without a name of their own", f"{result.kb.only_shared_names:,}")
        sharing = result.kb.mentions_sharing_names, result.kb.mentions_sharing_names_as_written
        table.add_row("mentions of such codes, case aside (as written)", f"{sharing[0]:,} ({sharing[1]:,})")
        table.add_row("mentions whose text is a shared name", f"{result.kb.mentions_with_shared_surface:,}")
        if result.kb.ceiling is not None:
            table.add_row("ceiling under the groups of the types", f"{result.kb.ceiling:.1%}")
    table.add_row("documents that leak from a part before them", f"{result.leaks:,}")
    table.add_row("documents with the text of another", f"{result.duplicate_texts:,}")
    for reason, count in result.rejections.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    for reason, count in left_out_of_train.items():
        table.add_row(f"rejected of the training documents given: {reason}", f"{count:,}")
    return table
