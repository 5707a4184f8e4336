"""The UMLS Metathesaurus in Rich Release Format: MRCONSO, MRSTY and what else a META folder holds, as columns.

Format: "Metathesaurus - Rich Release Format (RRF)" in the UMLS Reference Manual (National Library of Medicine).  A row is an *atom*: one string
of one source for one concept.  Ten million atoms never become Python objects: files are scanned lazily, only needed columns are read.

Direction of MRREL: `CUI1|…|REL|CUI2` says that CUI1 *has a REL* which is CUI2, or that CUI2 stands in REL and RELA to CUI1.  So `A|PAR|B` makes
B the parent of A, `B|CHD|A` says the same, and `A|RN|B` with RELA `isa` says that B is a (kind of) A.
"""

import gzip
import re
import shutil
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from string import ascii_lowercase
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.archive import opened, shown_as
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.hierarchy import components
from syncabel.kb.readers.delimited import LINE, Checked, check_rows, collected
from syncabel.kb.readers.semantic_types import group_named, mapped_up, semantic_type, semantic_types
from syncabel.kb.vocabulary import CONCEPTS, NAMES, RELATIONS, RETIRED, About, Frames, Vocabulary
from syncabel.types import Rejection

__all__ = ["LANGUAGES", "PRESETS", "Preset", "read_rrf"]

_COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "MRCONSO": "CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF",
        "MRSTY": "CUI TUI STN STY ATUI CVF",
        "MRDEF": "CUI AUI ATUI SATUI SAB DEF SUPPRESS CVF",
        "MRREL": "CUI1 AUI1 STYPE1 REL CUI2 AUI2 STYPE2 RELA RUI SRUI SAB SL RG DIR SUPPRESS CVF",
        "MRRANK": "RANK SAB TTY SUPPRESS",
        "MRCUI": "CUI1 VER REL RELA MAPREASON CUI2 MAPIN",
        "MRFILES": "FIL DES FMT CLS RWS BTS",
        "MRSAB": "VCUI RCUI VSAB RSAB SON SF SVER VSTART VEND IMETA RMETA SLC SCC SRL TFR CFR CXTY TTYL ATNL LAT CENC CURVER SABIN SSN SCIT",
    }.items()
}
_REQUIRED = ("MRCONSO", "MRSTY")
_MEMBER = re.compile(r"(MR[A-Z]+)\.RRF(?:\.(?!gz$)([a-z]{2}))?(?:\.gz)?")
_RELEASE = re.compile(r"(?<!\d)(?:19|20)\d\d[A-D][A-D](?![A-Za-z])")
_AGAIN = "fetch or subset the release again"

LANGUAGES: dict[str, str] = {
    lat: iso
    for iso, lats in {
        "ar": "ARA", "bg": "BUL", "cs": "CZE", "da": "DAN", "de": "GER", "el": "GRE", "en": "ENG", "es": "SPA", "et": "EST", "eu": "BAQ",
        "fi": "FIN", "fr": "FRE", "he": "HEB", "hr": "SCR HRV", "hu": "HUN", "is": "ICE", "it": "ITA", "ja": "JPN", "ko": "KOR", "lt": "LIT",
        "lv": "LAV", "nl": "DUT", "no": "NOR", "pl": "POL", "pt": "POR", "ro": "RUM", "ru": "RUS", "sk": "SLO", "sl": "SLV", "sr": "SCC SRP",
        "sv": "SWE", "tr": "TUR", "uk": "UKR", "zh": "CHI",
    }.items()
    for lat in lats.split()
}  # fmt: skip
"""LAT of MRCONSO (ISO 639-2/B, and SCR for Croatian) -> ISO 639-1."""


@dataclass(frozen=True, slots=True)
class Preset:
    """The subset of the Metathesaurus that a corpus was annotated with.

    Attributes:
        groups: TUI -> group of the concepts of this type; other types are left out.
        languages: LATs, in order of preference.
        sources: SABs; empty for all.
    """

    groups: Mapping[str, str]
    languages: tuple[str, ...]
    sources: tuple[str, ...] = ()


def _st21pv() -> Preset:
    chosen = "T005 T007 T017 T022 T031 T033 T037 T038 T058 T062 T074 T082 T091 T092 T097 T098 T103 T168 T170 T201 T204"
    sources = "CPT FMA GO HGNC HPO ICD10 ICD10CM ICD9CM MDR MSH MTH NCBI NCI NDDF NDFRT OMIM RXNORM SNOMEDCT_US"
    groups = {tui: semantic_type(above).name for tui, above in mapped_up(chosen.split()).items()}
    return Preset(groups, ("ENG",), tuple(sources.split()))


def _quaero() -> Preset:
    chosen = ["ANAT", "CHEM", "DEVI", "DISO", "GEOG", "LIVB", "OBJC", "PHEN", "PHYS", "PROC"]
    return Preset({kind.tui: kind.group for kind in semantic_types().values() if kind.group in chosen}, ("ENG", "FRE", "SPA"))


PRESETS: dict[str, Preset] = {"medmentions-st21pv": _st21pv(), "quaero": _quaero()}
"""`medmentions-st21pv`: a concept's groups are the names of those of the 21 types at or above its own ("Biologic Function"), its `types` stay its
own TUIs; `quaero`: the ten groups by their abbreviations, which are the corpus' types."""


def read_rrf(
    source: Path | str,
    *,
    languages: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    term_types: Sequence[str] | None = None,
    semantic_types: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    suppressed: bool = False,
    preset: str | None = None,
    relations: bool = False,
    broader: bool = False,
) -> Vocabulary:
    """A release of the UMLS Metathesaurus, or a subset that MetamorphoSys wrote, as columns.

    Names: one per distinct string of a concept and language, all of scope "exact": term types do not say narrower or broader.  They stand by language as
    asked, then not suppressed first, then by the rank of MRRANK (source and term type; higher first) where the release has it, then by TS "P", STT "PF",
    ISPREF "Y", source, term type and string; the first of a language is its preferred one.  The order of rows in the files does not matter.

    Groups: abbreviations of the semantic groups ("DISO"), or as the preset says; `types` are TUIs.  Only types asked for count, so a
    concept's groups are among those asked for.  Definition: of the best language, then of the highest-ranked source.  `xrefs` are `SAB:CODE`.

    Parents: PAR (and its mirror CHD), and RB (RN) where RELA says inverse_isa (isa), of the chosen sources.  Hierarchies of several
    sources form cycles; within a cyclic part (a strongly connected component) a link to a parent is kept only where the parent is nearer to a root, or as near
    and of a smaller CUI: what is left has no cycle, and what is cut is a rejection `cycle`.

    Retired CUIs (MRCUI): one with a single successor, which is SY, is its `alt_codes`; others are `Retired` with REL as reason.

    Args:
        source: a META folder, a folder with exactly one somewhere below, or a zip or tar of one; members plain, `.gz` or split (`MRCONSO.RRF.aa.gz`).
        languages: LATs ("FRE") or ISO 639-1 codes ("fr"), the most preferred first, or "ALL"; the preset's, else ENG, where not given.
        sources, term_types: SABs and TTYs to keep; all where not given.
        semantic_types: TUIs to keep, without those below them.
        groups: semantic groups to keep, by abbreviation or name.
        suppressed: whether to keep atoms, definitions and relationships with SUPPRESS O, E or Y.
        preset: one of `PRESETS`; other filters narrow it further, `languages` replaces its languages.
        relations: whether to read relationships with a RELA other than is_a; those that the source asserts the other way round (DIR "N") are left out.
        broader: whether RB and RN count as parents and children without RELA too.

    Returns:
        `Frames`.  Rejections: `no_semantic_type` (a concept without row in MRSTY), `unknown_type`, `unknown_language` (no ISO 639-1 code known; one per
        LAT), `source_not_in_release` (one per source asked for, by the preset or otherwise, without a row), `rows_missing`, `rows_added` and `bytes_differ`
        (a table that is not as MRFILES states it, or not there: a subset may be meant so, a download cut short is not), `self_loop` (one for all), `cycle`.

    Raises:
        FormatError: no MRCONSO or MRSTY, a part of a split table missing, tables still packed in `.nlm` containers, a damaged archive, a row with
            another number of columns, bytes that are not UTF-8.
        ConfigError: two releases in the folder, or filters that leave nothing.
        UnknownNameError: a language, source, term type, semantic type, group or preset that does not exist.
        OSError: there is no such file.
    """
    chosen = _preset(preset)
    types = _types(chosen, semantic_types, groups)
    asked = _languages(languages, chosen)
    given = {"preset": preset, "language": languages, "source": sources, "term_type": term_types, "semantic_type": semantic_types, "group": groups}
    given |= {name: "true" for name, on in {"suppressed": suppressed, "relations": relations, "broader": broader}.items() if on}
    with _meta(Path(source)) as (folder, files):
        checked = {name: check_rows(path, _COLUMNS[name], "|", trailing=True) for name, path in files.items()}
        release = _Release(Path(source), folder, checked, suppressed)
        release.as_stated()
        terms = release.terms(asked, chosen.sources if chosen else (), sources, term_types)
        frames = release.frames(types, terms, relations, broader)
        about = About(
            "UMLS Metathesaurus",
            release.version(),
            "UMLS Metathesaurus License",
            redistributable=False,
            obtain="https://www.nlm.nih.gov/research/umls (free account, yearly report)",
            filters=tuple(_listed(given)),
        )
    return Vocabulary(about, frames)


def _listed(given: Mapping[str, str | Sequence[str] | None]) -> Iterator[str]:
    for option, value in given.items():
        if value is not None:
            yield f"{option}={value if isinstance(value, str) else ','.join(value)}"


def _preset(name: str | None) -> Preset | None:
    if name is not None and name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name] if name else None


def _types(preset: Preset | None, tuis: Sequence[str] | None, groups: Sequence[str] | None) -> dict[str, str]:
    """TUI -> group, of the types to keep."""
    wanted = {semantic_type(tui).tui for tui in tuis} if tuis is not None else set(semantic_types())
    abbreviations = None if groups is None else {group_named(name) for name in groups}
    kept = {kind.tui: kind.group for kind in semantic_types().values() if kind.tui in wanted and (abbreviations is None or kind.group in abbreviations)}
    kept = {tui: preset.groups[tui] for tui in kept if tui in preset.groups} if preset else kept
    if not kept:
        raise ConfigError("preset, semantic types and groups have no type in common; drop one of these filters")
    return kept


def _languages(asked: Sequence[str] | None, preset: Preset | None) -> tuple[str, ...]:
    """LATs in order of preference."""
    if asked is None:
        return preset.languages if preset else ("ENG",)
    asked = [asked] if isinstance(asked, str) else asked
    if [name.upper() for name in asked] == ["ALL"]:
        return ("ENG", *sorted(lat for lat in LANGUAGES if lat != "ENG"))
    return tuple(dict.fromkeys(lat for name in asked for lat in _lats(name)))


def _lats(name: str) -> list[str]:
    lats = [lat for lat, iso in LANGUAGES.items() if name in (lat, iso)]
    if not lats:
        raise UnknownNameError("language", name, ["ALL", *LANGUAGES])
    return lats


@contextmanager
def _meta(source: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    """The META folder of a source and its tables as plain files, which are there inside the `with` only."""
    containers: list[str] = []
    with opened(source, lambda member: _wanted(member, containers)) as folder, tempfile.TemporaryDirectory(prefix="syncabel-") as temporary:
        meta = _meta_folder(folder, source, containers)
        parts: dict[str, dict[str, Path]] = defaultdict(dict)
        for path in sorted(meta.iterdir()):  # a plain part comes before its .gz
            if (match := _MEMBER.fullmatch(path.name)) and match[1] in _COLUMNS:
                parts[match[1]].setdefault(match[2] or "", path)
        for name in _REQUIRED:
            if name not in parts:
                raise FormatError(f"{name}.RRF is missing", source, hint=_AGAIN)
        with shown_as(Path(temporary), meta):
            yield meta, {name: _plain(name, paths, Path(temporary), source) for name, paths in parts.items()}


def _wanted(member: str, containers: list[str]) -> bool:
    """Whether to unpack a member; a container of a full release is noted."""
    name = PurePosixPath(member).name
    if name.lower().endswith(".nlm"):
        containers.append(member)
    match = _MEMBER.fullmatch(name)
    return name == "release.dat" or (match is not None and match[1] in _COLUMNS)


def _meta_folder(folder: Path, source: Path, containers: Sequence[str]) -> Path:
    if any(_is_table(path) for path in folder.iterdir()):
        return folder
    found = sorted({path.parent for path in folder.rglob("MR*.RRF*") if _is_table(path)})
    if not found and (packed := sorted(containers or (path.relative_to(folder).as_posix() for path in folder.rglob("*.nlm")))):
        hint = "unpack the .nlm files (they are zips, MetamorphoSys opens them too) and give the META folder"
        raise FormatError(f"the tables are still packed in {', '.join(packed[:3])}", source, hint=hint)
    if not found:
        raise FormatError("MRCONSO.RRF is missing", source, hint="give the META folder that MetamorphoSys wrote, or the zip of the Metathesaurus files")
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in found)
        raise ConfigError(f"{source}: {len(found)} releases ({listed}); which one? give its META folder")
    return found[0]


def _is_table(path: Path) -> bool:
    match = _MEMBER.fullmatch(path.name)
    return match is not None and match[1] in _REQUIRED


def _plain(name: str, parts: Mapping[str, Path], temporary: Path, source: Path) -> Path:
    """One plain file of a table: itself, or its parts (by suffix; "" for the whole) unpacked and joined in the order of their suffixes."""
    whole = parts.get("")
    if whole and whole.suffix != ".gz":
        return whole
    joined = temporary / f"{name}.RRF"
    with joined.open("wb") as file:
        for part in [whole] if whole else _in_turn(name, parts, source):
            _append(part, file)
    return joined


def _in_turn(name: str, parts: Mapping[str, Path], source: Path) -> list[Path]:
    """Parts from `aa` on, none left out between the first and the last there is."""
    suffixes = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    missing = [suffix for suffix in suffixes[: suffixes.index(max(parts))] if suffix not in parts]
    if missing:
        raise FormatError(f"{name}.RRF is split, and its part .{missing[0]} is missing", source, hint=_AGAIN)
    return [parts[suffix] for suffix in sorted(parts)]


def _append(part: Path, file: IO[bytes]) -> None:
    try:
        with gzip.open(part, "rb") if part.suffix == ".gz" else part.open("rb") as content:
            shutil.copyfileobj(content, file, 1 << 20)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise FormatError("damaged gzip data", part, hint=_AGAIN) from None


# Bits of an atom's sort key, the most significant first: language, suppressed, rank, not TS P, not STT PF, not ISPREF Y, then source and type.
_LANGUAGE, _SUPPRESSED, _RANK, _TS, _STT, _ISPREF = 42, 41, 21, 20, 19, 18
_HIERARCHY = {"PAR": False, "CHD": True, "RB": False, "RN": True}  # REL -> whether the second concept is the child
_ISA = {"RB": "inverse_isa", "RN": "isa"}


@dataclass(frozen=True, slots=True)
class _Terms:
    """The atoms to keep, by what they have in common.

    Attributes:
        kept: LAT, SAB, TTY and `base`, the part of the sort key that goes by them; one row for each combination that occurs.
        isos: languages, in order of preference.
        sources: SABs to keep, or None for all.
        definitions: SAB, whether it `speaks` a language asked for, and its `place` (ascending: the better definition).
    """

    kept: pl.DataFrame
    isos: tuple[str, ...]
    sources: frozenset[str] | None
    definitions: pl.DataFrame


class _Release:
    """The tables of one release, and what is left out of them on the way."""

    def __init__(self, source: Path, folder: Path, tables: dict[str, Checked], suppressed: bool) -> None:
        self.source, self.folder, self.tables, self.suppressed = source, folder, tables, suppressed
        self.rejections: list[Rejection] = []

    def read(self, name: str, *columns: str, lines: bool = False) -> pl.LazyFrame:
        """Some columns of a table; without its suppressed rows where they are not wanted."""
        frame = self.tables[name].scan(lines=lines)
        if not self.suppressed and "SUPPRESS" in _COLUMNS[name] and name != "MRRANK":
            frame = frame.filter(~pl.col("SUPPRESS").is_in(["O", "E", "Y"]))
        return frame.select(*([LINE] if lines else []), *columns)

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        return collected(frame, self.source)

    def version(self) -> str:
        """The release, e.g. "2023AA": of release.dat, else the latest that MRSAB speaks of, else of a path, which anybody may name; "" where none does."""
        dated = self.folder / "release.dat"
        if dated.is_file() and (found := _RELEASE.search(dated.read_text("utf-8", errors="replace"))):
            return found[0]
        if "MRSAB" in self.tables:
            rows = self.collect(self.read("MRSAB", "IMETA", "RMETA"))
            if spoken := max((str(text) for column in rows for text in column if _RELEASE.fullmatch(text)), default=""):
                return spoken
        parts = (*reversed(self.folder.resolve().parts), *reversed(self.source.resolve().parts))
        return next((found[0] for part in parts if (found := _RELEASE.search(part))), "")

    def as_stated(self) -> None:
        """Report the tables that are not as MRFILES states them."""
        if "MRFILES" not in self.tables:
            return
        files = self.read("MRFILES", "FIL", "RWS", "BTS").with_columns(pl.col("RWS", "BTS").cast(pl.Int64))
        for file, rows, size in self.collect(files.sort("FIL")).iter_rows():
            name = file.removesuffix(".RRF")
            if file == name or name not in _COLUMNS:
                continue
            here, length = self._size(name)
            reason = "rows_missing" if here < rows else "rows_added" if here > rows else "bytes_differ"
            if (here, length) != (rows, size):
                found = f"found {here} of {length}" if name in self.tables else "there is no such file"
                self.rejections.append(Rejection(self._where(name), "", reason, f"MRFILES states {rows} rows of {size} bytes, {found}"))

    def _size(self, name: str) -> tuple[int, int]:
        """Rows and bytes of a table; none of one that is not there."""
        table = self.tables.get(name)
        return (table.rows, table.path.stat().st_size) if table else (0, 0)

    def terms(self, lats: tuple[str, ...], of_preset: Sequence[str], sources: Sequence[str] | None, term_types: Sequence[str] | None) -> _Terms:
        """What atoms to keep: names are compared with those that occur."""
        seen = self.collect(self.tables["MRCONSO"].scan().group_by("LAT", "SAB", "TTY").len()).sort("LAT", "SAB", "TTY")
        known = set(seen["SAB"]) | (set(self.collect(self.read("MRSAB", "RSAB"))["RSAB"]) if "MRSAB" in self.tables else set())
        _known("source", sources, known)
        _known("term type", term_types, seen["TTY"])
        if set(lats) == set(LANGUAGES):
            self._without_iso(seen)
        chosen = set(of_preset) & set(sources) if of_preset and sources is not None else set(of_preset) or (None if sources is None else set(sources))
        for absent in sorted((chosen or set()) - set(seen["SAB"])):
            self.rejections.append(Rejection(self._where("MRCONSO"), "", "source_not_in_release", f"SAB {absent}: no row"))
        isos = tuple(dict.fromkeys(LANGUAGES[lat] for lat in lats))
        place = {lat: isos.index(LANGUAGES[lat]) for lat in lats}
        seen = seen.with_columns(language=pl.col("LAT").replace_strict(place, default=None, return_dtype=pl.UInt64))
        seen = seen.join(self._ranks(seen), on=["SAB", "TTY"])
        seen = seen if chosen is None else seen.filter(pl.col("SAB").is_in(list(chosen)))
        kept = seen.filter(pl.col("language").is_not_null() & (pl.lit(True) if term_types is None else pl.col("TTY").is_in(list(term_types))))
        base = (pl.col("language") * (1 << _LANGUAGE)) + (pl.col("below") * (1 << _RANK)) + pl.col("order")
        return _Terms(kept.select("LAT", "SAB", "TTY", base=base), isos, None if chosen is None else frozenset(chosen), _definers(seen))

    def _without_iso(self, seen: pl.DataFrame) -> None:
        for lat, count in seen.filter(~pl.col("LAT").is_in([*LANGUAGES])).group_by("LAT").agg(pl.col("len").sum()).sort("LAT").iter_rows():
            self.rejections.append(Rejection(self._where("MRCONSO"), "", "unknown_language", f"LAT {lat}: {count} rows"))

    def _ranks(self, kept: pl.DataFrame) -> pl.DataFrame:
        """SAB, TTY, their place in the alphabet (`order`) and the number of better ranks (`below`); 0 for all without MRRANK."""
        pairs = kept.select("SAB", "TTY").unique().sort("SAB", "TTY").with_row_index("order").with_columns(pl.col("order").cast(pl.UInt64))
        if "MRRANK" not in self.tables:
            return pairs.with_columns(below=pl.lit(0, pl.UInt64))
        rank = self.read("MRRANK", "SAB", "TTY", "RANK").group_by("SAB", "TTY").agg(pl.col("RANK").cast(pl.Int32).max())
        ranked = pairs.join(self.collect(rank), on=["SAB", "TTY"], how="left").with_columns(pl.col("RANK").fill_null(-1))
        return ranked.with_columns(below=(pl.col("RANK").rank("dense", descending=True) - 1).cast(pl.UInt64)).drop("RANK")

    def frames(self, types: Mapping[str, str], terms: _Terms, relations: bool, broader: bool) -> Frames:
        """All that is kept."""
        kinds, ids = self._kinds(types, terms)
        names = self._names(terms, ids)
        if not len(names):
            raise ConfigError(f"{self.source}: the filters leave no concept; widen languages, sources, term types or semantic types")
        present = np.zeros(len(ids), np.bool_)
        present[names["id"].to_numpy()] = True
        codes, ids = ids["CUI"], ids.filter(pl.Series(present))
        concepts = ids.rename({"CUI": "code"})
        for part in (*_groups_and_types(kinds), self._xrefs(terms, ids), self._definitions(terms, ids), self._parents(terms, ids, codes, broader)):
            concepts = concepts.join(part, on="id", how="left")
        retired, successors = self._retired(ids)
        concepts = concepts.join(successors, on="id", how="left").sort("id")
        return Frames(
            concepts.select(*CONCEPTS),
            _named(names, codes, terms.isos),
            self._relations(terms, ids) if relations and "MRREL" in self.tables else pl.DataFrame(schema=RELATIONS),
            retired,
            rejections=tuple(self.rejections),
        )

    def _kinds(self, types: Mapping[str, str], terms: _Terms) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The types kept (CUI, TUI, group, id), and the numbers of the concepts that have one (CUI, id: UInt32 in the order of CUIs)."""
        network = pl.DataFrame({"TUI": [*semantic_types()], "group": [types.get(tui) for tui in semantic_types()]})
        rows = self.collect(self.read("MRSTY", "CUI", "TUI"))
        for tui, count in rows.filter(~pl.col("TUI").is_in([*semantic_types()])).group_by("TUI").len().sort("TUI").iter_rows():
            self.rejections.append(Rejection(self._where("MRSTY"), "", "unknown_type", f"TUI {tui}: {count} rows"))
        rows = rows.join(network, on="TUI")
        self._without_type(rows.select("CUI"), terms)
        kinds = rows.filter(pl.col("group").is_not_null())
        ids = kinds.select(pl.col("CUI").unique().sort()).with_row_index("id")
        return kinds.join(ids, on="CUI"), ids.select("CUI", "id")

    def _without_type(self, typed: pl.DataFrame, terms: _Terms) -> None:
        atoms = self.read("MRCONSO", "CUI", "LAT", "SAB", "TTY", lines=True).join(terms.kept.lazy(), on=["LAT", "SAB", "TTY"], how="semi")
        bare = atoms.join(typed.lazy(), on="CUI", how="anti").group_by("CUI").agg(pl.col(LINE).min())
        for cui, line in self.collect(bare).sort("CUI").iter_rows():
            self.rejections.append(Rejection(self._where("MRCONSO", line), cui, "no_semantic_type", "no row in MRSTY with a known TUI"))

    def _names(self, terms: _Terms, ids: pl.DataFrame) -> pl.DataFrame:
        """One row per concept, language and string: id, key, STR, in the order of names."""
        flags = {"SUPPRESS": (_SUPPRESSED, ("N", "")), "TS": (_TS, ("P",)), "STT": (_STT, ("PF",)), "ISPREF": (_ISPREF, ("Y",))}
        key = pl.col("base")
        for column, (bit, best) in flags.items():
            key += (~pl.col(column).is_in(best)).cast(pl.UInt64) * (1 << bit)
        atoms = (
            self.read("MRCONSO", "CUI", "LAT", "SAB", "TTY", "STR", *flags)
            .join(terms.kept.lazy(), on=["LAT", "SAB", "TTY"])
            .join(ids.lazy(), on="CUI")
            .select("id", "STR", key=key, language=(pl.col("base") // (1 << _LANGUAGE)).cast(pl.UInt8))
        )
        # Ties of the key are one source's synonyms of one type: the string decides, so that row order does not.
        return self.collect(atoms.group_by("id", "language", "STR").agg(pl.col("key").min())).sort("id", "key", "STR")

    def _xrefs(self, terms: _Terms, ids: pl.DataFrame) -> pl.DataFrame:
        atoms = self.read("MRCONSO", "CUI", "LAT", "SAB", "TTY", "CODE").filter(~pl.col("CODE").is_in(["", "NOCODE"]))
        codes = atoms.join(terms.kept.lazy(), on=["LAT", "SAB", "TTY"], how="semi").join(ids.lazy(), on="CUI")
        rows = self.collect(codes.select("id", xrefs=pl.concat_str("SAB", pl.lit(":"), "CODE")).unique())
        return rows.sort("id", "xrefs").group_by("id", maintain_order=True).agg("xrefs")

    def _definitions(self, terms: _Terms, ids: pl.DataFrame) -> pl.DataFrame:
        """The best definition of each concept that has one.  A source whose atoms are all of other languages defines in those; one without atoms comes last."""
        if "MRDEF" not in self.tables:
            return pl.DataFrame(schema={"id": pl.UInt32, "definition": pl.String})
        rows = self.read("MRDEF", "CUI", "SAB", "DEF").join(ids.lazy(), on="CUI").join(terms.definitions.lazy(), on="SAB", how="left")
        rows = rows.filter(pl.col("speaks").fill_null(True))
        rows = rows if terms.sources is None else rows.filter(pl.col("SAB").is_in(sorted(terms.sources)))
        best = self.collect(rows.select("id", "place", "SAB", definition="DEF")).sort("id", "place", "SAB", "definition", nulls_last=True)
        return best.unique("id", keep="first", maintain_order=True).select("id", "definition")

    def _links(self, terms: _Terms, *columns: str) -> pl.LazyFrame:
        rows = self.read("MRREL", "SAB", *columns, lines=True)
        return rows if terms.sources is None else rows.filter(pl.col("SAB").is_in(sorted(terms.sources)))

    def _parents(self, terms: _Terms, ids: pl.DataFrame, codes: pl.Series, broader: bool) -> pl.DataFrame:
        if "MRREL" not in self.tables:
            return pl.DataFrame(schema={"id": pl.UInt32, "parents": pl.List(pl.String)})
        rel = pl.col("REL")
        means = rel.is_in(["PAR", "CHD"]) | (
            rel.is_in([*_ISA]) if broader else pl.any_horizontal((rel == up) & (pl.col("RELA") == isa) for up, isa in _ISA.items())
        )
        down = rel.is_in([rel for rel, below in _HIERARCHY.items() if below])
        child, parent = pl.when(down).then("CUI2").otherwise("CUI1"), pl.when(down).then("CUI1").otherwise("CUI2")
        rows = self._links(terms, "REL", "RELA", "CUI1", "CUI2").filter(means).select(LINE, child=child, parent=parent)
        for end in ("child", "parent"):
            rows = rows.join(ids.lazy().select(pl.col("id").alias(f"{end}_id"), CUI="CUI"), left_on=end, right_on="CUI").drop(end)
        edges = self.collect(rows.group_by("child_id", "parent_id").agg(pl.col(LINE).min(), pl.len())).sort("child_id", "parent_id")
        loops = edges.filter(pl.col("child_id") == pl.col("parent_id"))
        if len(loops):
            self.rejections.append(Rejection(self._where("MRREL"), "", "self_loop", f"{len(loops)} concepts are their own parents, {loops['len'].sum()} rows"))
        edges = self._acyclic(edges.filter(pl.col("child_id") != pl.col("parent_id")), codes)
        linked = edges.select(pl.col("child_id").alias("id"), codes.gather(edges["parent_id"]).alias("parents"))
        return linked.group_by("id", maintain_order=True).agg("parents")

    def _acyclic(self, edges: pl.DataFrame, codes: pl.Series) -> pl.DataFrame:
        cut = _closing(edges["child_id"].to_numpy(), edges["parent_id"].to_numpy(), len(codes))
        for child, parent, line in edges.filter(pl.Series(cut)).select("child_id", "parent_id", LINE).iter_rows():
            self.rejections.append(Rejection(self._where("MRREL", line), codes[child], "cycle", f"{codes[parent]} as parent would close a cycle"))
        return edges.filter(pl.Series(~cut))

    def _relations(self, terms: _Terms, ids: pl.DataFrame) -> pl.DataFrame:
        """Relationships with a RELA between two concepts kept: the second concept's to the first."""
        hierarchy = pl.col("REL").is_in(["PAR", "CHD"]) | pl.col("RELA").is_in(["", *_ISA.values()])
        rows = self._links(terms, "REL", "RELA", "CUI1", "CUI2", "RG", "DIR").filter(~hierarchy & (pl.col("DIR") != "N") & (pl.col("CUI1") != pl.col("CUI2")))
        for end in ("CUI1", "CUI2"):
            rows = rows.join(ids.lazy(), left_on=end, right_on="CUI", how="semi")
        group = pl.col("RG").cast(pl.Int32, strict=False).fill_null(0)
        return self.collect(rows.select(source="CUI2", kind="RELA", target="CUI1", role_group=group).unique()).sort([*RELATIONS])

    def _retired(self, ids: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """CUIs of MRCUI that are deleted or have successors kept; and id, alt_codes of what takes the place of one."""
        if "MRCUI" not in self.tables:
            return pl.DataFrame(schema=RETIRED), pl.DataFrame(schema={"id": pl.UInt32, "alt_codes": pl.List(pl.String)})
        gone = self.read("MRCUI", "CUI1", "REL", "CUI2").join(ids.lazy(), left_on="CUI1", right_on="CUI", how="anti")
        rows = self.collect(gone.join(ids.lazy(), left_on="CUI2", right_on="CUI", how="left").unique())
        facts = (
            rows.sort("CUI1", "CUI2", "REL")
            .group_by("CUI1", maintain_order=True)
            .agg("REL", "id", "CUI2", one=(pl.col("CUI2").n_unique() == 1) & (pl.col("REL") == "SY").all() & pl.col("id").is_not_null().all())
        )
        merged = facts.filter("one").select(pl.col("id").list.first(), alt_codes="CUI1").sort("id", "alt_codes")
        known = rows.filter(pl.col("id").is_not_null() | (pl.col("REL") == "DEL")).select("CUI1").unique()
        others = facts.filter(~pl.col("one")).join(known, on="CUI1", how="semi")
        successors = pl.col("CUI2").list.eval(pl.element().filter(pl.element() != "").unique(maintain_order=True))
        retired = others.select(code="CUI1", reason=pl.col("REL").list.unique().list.sort().list.join("+"), successors=successors)
        return retired.sort("code"), merged.group_by("id", maintain_order=True).agg("alt_codes")

    def _where(self, table: str, line: int | None = None) -> str:
        return f"{table}.RRF" + (f":{line}" if line else "")


def _definers(seen: pl.DataFrame) -> pl.DataFrame:
    """SAB and `place` (by language, rank and name; null where it has no language asked for) of sources as they occur in MRCONSO."""
    best = seen.group_by("SAB").agg(pl.col("language").min(), pl.col("below").min())
    asked = best.filter(pl.col("language").is_not_null()).sort("language", "below", "SAB").with_row_index("place")
    return best.select("SAB").join(asked.select("SAB", "place"), on="SAB", how="left").with_columns(speaks=pl.col("place").is_not_null())


def _known(kind: str, asked: Iterable[str] | None, known: Iterable[str]) -> None:
    known = sorted(set(known))
    for name in asked or ():
        if name not in known:
            raise UnknownNameError(kind, name, known)


def _groups_and_types(kinds: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """id and `groups`, id and `types`: sorted lists."""
    for column, name in (("group", "groups"), ("TUI", "types")):
        yield kinds.select("id", pl.col(column).alias(name)).unique().sort("id", name).group_by("id", maintain_order=True).agg(name)


def _named(names: pl.DataFrame, codes: pl.Series, isos: tuple[str, ...]) -> pl.DataFrame:
    """The names' columns of a knowledge base."""
    language = (pl.col("key") // (1 << _LANGUAGE)).cast(pl.UInt8)
    first = pl.struct("id", "language").rle_id()
    return (
        names.with_columns(language=language)
        .with_columns(preferred=(first != first.shift(1)).fill_null(True))
        .select(
            codes.gather(names["id"]).alias("code"),
            pl.col("STR").alias("text"),
            pl.Series("language", isos, dtype=pl.String).gather(names.select(language).to_series()).alias("language"),
            pl.lit("exact").alias("scope"),
            "preferred",
        )
        .select(*NAMES)
    )


def _closing(children: NDArray[Any], parents: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Which links from a child to a parent to cut so that no cycle is left.

    Inside a strongly connected component, links stay that lead to a node nearer to a root (a node without parents), or as near and
    of a smaller number: along such links (depth, number) falls, so they form no cycle, and no link outside a component is in one.

    Args:
        children, parents: node numbers, one pair a link, each once.  Shape: (links,).
        count: number of nodes.

    Returns:
        Shape: (links,).
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    component = components(children, parents, count)
    inside: NDArray[np.bool_] = component[children] == component[parents]
    if not inside.any():
        return inside
    downward = csr_array((np.ones(len(children), np.int8), (parents, children)), shape=(count, count))
    roots = np.setdiff1d(parents, children)
    depth = dijkstra(downward, indices=roots, unweighted=True, min_only=True) if len(roots) else np.full(count, np.inf)
    nearer: NDArray[np.bool_] = (depth[parents] < depth[children]) | ((depth[parents] == depth[children]) & (parents < children))
    return inside & ~nearer
