import gzip
import random
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.readers import delimited
from syncabel.kb.readers.rrf import LANGUAGES, PRESETS, _closing, read_rrf
from syncabel.kb.readers.semantic_types import ancestors, descendants, group_named, mapped_up, semantic_types
from syncabel.kb.vocabulary import CONCEPTS, MAPS, NAMES, RELATIONS, RETIRED, Frames

# CUI LAT TS STT ISPREF SAB TTY CODE STR SUPPRESS
ATOMS = [
    "C0000001 ENG P PF Y MSH MH D1 Heart_attack N",
    "C0000001 ENG S PF Y SNOMEDCT_US PT 22298006 Myocardial_infarction N",
    "C0000001 ENG S VO Y SNOMEDCT_US SY 22298006 Cardiac_infarct N",
    "C0000001 ENG S VO N MSH ET D1 Heart_attack N",
    "C0000001 ENG S PF Y SNOMEDCT_US IS 22298006 Old_infarct O",
    "C0000001 FRE P PF Y MSHFRE MH D1 Infarctus N",
    "C0000001 FRE S PF Y MDRFRE LT 10 Crise_cardiaque N",
    "C0000002 ENG P PF Y MSH MH D2 Heart_disease N",
    "C0000003 ENG P PF Y NCI PT C3 Insulin N",
    "C0000004 ENG P PF Y NCI PT NOCODE Untyped N",
    "C0000005 ENG P PF Y MSH MH D5 Gone Y",
    "C0000006 SPA P PF Y MSHSPA MH D6 Corazon N",
]
TYPES = ["C0000001 T047", "C0000002 T047", "C0000003 T116", "C0000003 T125", "C0000003 T028", "C0000005 T047", "C0000006 T023"]
RANKS = ["0400 SNOMEDCT_US PT N", "0300 MSH MH N", "0200 SNOMEDCT_US SY N", "0100 MSH ET N"]
# CUI1 REL CUI2 RELA SAB RG DIR
LINKS = [
    "C0000001 PAR C0000002 inverse_isa MSH - -",
    "C0000002 CHD C0000001 isa MSH - -",
    "C0000001 PAR C0000001 - MSH - -",
    "C0000002 RN C0000003 isa NCI - -",
    "C0000001 RB C0000003 - MSH - -",
    "C0000003 RO C0000001 has_agent SNOMEDCT_US 2 Y",
    "C0000001 RO C0000003 agent_of SNOMEDCT_US 2 N",
]


def lines(name: str, rows: Sequence[str]) -> list[str]:
    def row(text: str) -> str:
        cells = ["" if cell == "-" else cell.replace("_", " ") if name == "MRCONSO" and "CT_US" not in cell else cell for cell in text.split()]
        if name == "MRCONSO":
            cui, lat, ts, stt, ispref, sab, tty, code, string, suppress = cells
            cells = [cui, lat, ts, "L", stt, "S", ispref, "A", "", "", "", sab, tty, code, string, "0", suppress, ""]
        elif name == "MRSTY":
            cells = [*cells, "A1", "", "", ""]
        elif name == "MRREL":
            one, rel, two, rela, sab, group, direction = cells
            cells = [one, "A1", "AUI", rel, two, "A2", "AUI", rela, "R", "", sab, sab, group, direction, "N", ""]
        elif name == "MRDEF":
            cui, sab, text, suppress = cells
            cells = [cui, "A", "AT", "", sab, text, suppress, ""]
        elif name == "MRCUI":
            one, rel, two = cells
            cells = [one, "2020AA", rel, "", "", two, "Y"]
        return "|".join(cells) + "|"

    return [row(text) for text in rows]


def write_meta(folder: Path, tables: Mapping[str, Sequence[str]] | None = None, *, end: str = "\n", start: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {"MRCONSO": ATOMS, "MRSTY": TYPES, **(tables or {})}.items():
        (folder / f"{name}.RRF").write_bytes((start + "".join(line + end for line in lines(name, rows))).encode())
    return folder


def read(source: Path, **options: Any) -> Frames:
    content = read_rrf(source, **options).content
    assert isinstance(content, Frames)
    return content


def names(frames: Frames, code: str = "C0000001") -> list[tuple[str, str, bool]]:
    return frames.names.filter(code=code).select("text", "language", "preferred").rows()


def concepts(frames: Frames) -> dict[str, dict[str, Any]]:
    return {row["code"]: row for row in frames.concepts.to_dicts()}


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    return write_meta(tmp_path / "META")


def test_without_ranks_the_preferred_name_is_by_ts_stt_ispref(meta: Path) -> None:
    frames = read(meta, languages=["ENG", "FRE"])
    assert names(frames) == [
        ("Heart attack", "en", True),
        ("Myocardial infarction", "en", False),
        ("Cardiac infarct", "en", False),
        ("Infarctus", "fr", True),
        ("Crise cardiaque", "fr", False),
    ]


def test_with_ranks_the_highest_rank_is_preferred(tmp_path: Path) -> None:
    frames = read(write_meta(tmp_path, {"MRRANK": RANKS}))
    assert [text for text, _, _ in names(frames)] == ["Myocardial infarction", "Heart attack", "Cardiac infarct"]
    assert [preferred for _, _, preferred in names(frames)] == [True, False, False]


def test_languages_stand_in_the_order_asked_by_either_code(meta: Path) -> None:
    assert [text for text, _, _ in names(read(meta, languages=["fr", "en"]))][:3] == ["Infarctus", "Crise cardiaque", "Heart attack"]
    assert set(concepts(read(meta, languages="ALL"))) == {"C0000001", "C0000002", "C0000003", "C0000006"}
    assert set(concepts(read(meta, languages=["SPA"]))) == {"C0000006"}


def test_suppressed_atoms_are_out_unless_asked_for_and_then_last(meta: Path) -> None:
    frames = read(meta, suppressed=True)
    assert names(frames)[-1] == ("Old infarct", "en", False)
    assert names(frames, "C0000005") == [("Gone", "en", True)]
    assert "C0000005" not in concepts(read(meta))


def test_filters_keep_what_they_name(meta: Path) -> None:
    assert [text for text, _, _ in names(read(meta, sources=["SNOMEDCT_US"]))] == ["Myocardial infarction", "Cardiac infarct"]
    assert [text for text, _, _ in names(read(meta, term_types=["SY", "ET"]))] == ["Cardiac infarct", "Heart attack"]
    assert set(concepts(read(meta, semantic_types=["T125"]))) == {"C0000003"}
    assert concepts(read(meta, semantic_types=["T125"]))["C0000003"]["types"] == ["T125"]
    assert set(concepts(read(meta, groups=["Disorders"]))) == {"C0000001", "C0000002"} == set(concepts(read(meta, groups=["DISO"])))


def test_several_types_give_several_groups(meta: Path) -> None:
    insulin = concepts(read(meta))["C0000003"]
    assert (insulin["groups"], insulin["types"]) == (["CHEM", "GENE"], ["T028", "T116", "T125"])


def test_xrefs_are_source_and_code_of_the_atoms_kept(meta: Path) -> None:
    assert concepts(read(meta))["C0000001"]["xrefs"] == ["MSH:D1", "SNOMEDCT_US:22298006"]
    assert concepts(read(meta, sources=["MSH"]))["C0000001"]["xrefs"] == ["MSH:D1"]


def test_a_concept_without_type_is_reported_with_its_line(meta: Path) -> None:
    frames = read(meta)
    assert [(r.where, r.code, r.reason) for r in frames.rejections] == [("MRCONSO.RRF:10", "C0000004", "no_semantic_type")]
    assert "C0000004" not in concepts(frames)


def test_a_type_or_a_language_nobody_knows_is_reported(tmp_path: Path) -> None:
    frames = read(write_meta(tmp_path, {"MRSTY": [*TYPES, "C0000001 T999"], "MRCONSO": [*ATOMS[:9], "C0000001 XXX P PF Y MSH MH D1 x N"]}), languages=["ALL"])
    assert [(r.reason, r.text) for r in frames.rejections] == [("unknown_language", "LAT XXX: 1 rows"), ("unknown_type", "TUI T999: 1 rows")]


def test_parents_are_the_second_concept_of_par_and_the_first_of_chd(tmp_path: Path) -> None:
    frames = read(write_meta(tmp_path, {"MRREL": LINKS}))
    assert {code: row["parents"] for code, row in concepts(frames).items()} == {"C0000001": ["C0000002"], "C0000002": None, "C0000003": ["C0000002"]}
    assert [(r.where, r.reason) for r in frames.rejections][1:] == [("MRREL.RRF", "self_loop")]
    assert frames.relations.is_empty()
    assert concepts(read(tmp_path, broader=True))["C0000001"]["parents"] == ["C0000002", "C0000003"]
    assert concepts(read(tmp_path, sources=["NCI", "SNOMEDCT_US"]))["C0000001"]["parents"] is None


def test_relations_are_the_second_concepts_to_the_first_as_the_source_asserts_them(tmp_path: Path) -> None:
    frames = read(write_meta(tmp_path, {"MRREL": LINKS}), relations=True)
    assert frames.relations.rows() == [("C0000001", "has_agent", "C0000003", 2)]


def test_a_cycle_between_sources_is_cut_where_it_leads_away_from_the_root(tmp_path: Path) -> None:
    links = ["C0000003 PAR C0000001 - MSH - -", "C0000001 PAR C0000002 - MSH - -", "C0000001 PAR C0000003 - NCI - -"]
    frames = read(write_meta(tmp_path, {"MRREL": links}))
    assert {code: row["parents"] for code, row in concepts(frames).items()} == {"C0000001": ["C0000002"], "C0000002": None, "C0000003": ["C0000001"]}
    assert [(r.where, r.code, r.reason) for r in frames.rejections][1:] == [("MRREL.RRF:3", "C0000001", "cycle")]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1]), max_size=24))
def test_cutting_leaves_no_cycle_and_cuts_only_links_of_cycles(edges: set[tuple[int, int]]) -> None:
    def reach(links: set[tuple[int, int]], start: int) -> set[int]:
        seen: set[int] = set()
        todo = [start]
        while todo:
            for child, parent in links:
                if child == todo[-1] and parent not in seen:
                    seen.add(parent)
                    todo.insert(0, parent)
            todo.pop()
        return seen

    ordered = sorted(edges)
    cut = _closing(np.array([c for c, _ in ordered], dtype=int), np.array([p for _, p in ordered], dtype=int), 8)
    gone = {edge for edge, closes in zip(ordered, cut, strict=True) if closes}
    assert all(node not in reach(edges - gone, node) for node in range(8))
    assert all(child in reach(edges, parent) for child, parent in gone)


def test_the_definition_is_of_a_language_asked_for_and_of_the_highest_ranked_source(tmp_path: Path) -> None:
    rows = [
        "C0000001 MSH from-mesh N",
        "C0000001 SNOMEDCT_US from-snomed N",
        "C0000001 MSHFRE en-francais N",
        "C0000002 MSH hidden O",
        "C0000003 OTHER other N",
    ]
    frames = read(write_meta(tmp_path, {"MRDEF": rows, "MRRANK": RANKS}))
    assert {code: row["definition"] for code, row in concepts(frames).items()} == {"C0000001": "from-snomed", "C0000002": None, "C0000003": "other"}
    assert concepts(read(tmp_path, sources=["MSH"]))["C0000001"]["definition"] == "from-mesh"
    assert concepts(read(tmp_path, languages=["FRE", "ENG"]))["C0000001"]["definition"] == "en-francais"


def test_a_merged_cui_is_an_alternative_code_and_others_are_retired(tmp_path: Path) -> None:
    rows = ["C1 SY C0000001", "C2 SY C0000001", "C2 SY C0000002", "C3 DEL -", "C4 RB C0000002", "C5 SY C7777777", "C0000003 RO C0000001"]
    frames = read(write_meta(tmp_path, {"MRCUI": rows}))
    assert concepts(frames)["C0000001"]["alt_codes"] == ["C1"]
    assert frames.retired.rows() == [("C2", "SY", ["C0000001", "C0000002"]), ("C3", "DEL", []), ("C4", "RB", ["C0000002"])]


def test_columns_are_those_of_a_vocabulary(tmp_path: Path) -> None:
    frames = read(write_meta(tmp_path, {"MRREL": LINKS, "MRCUI": ["C1 SY C0000001", "C3 DEL -"]}), relations=True)
    for frame, schema in ((frames.concepts, CONCEPTS), (frames.names, NAMES), (frames.relations, RELATIONS), (frames.retired, RETIRED), (frames.maps, MAPS)):
        assert dict(frame.schema) == schema


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    tables = {
        "MRCONSO": ATOMS,
        "MRSTY": TYPES,
        "MRREL": [*LINKS, "C0000002 PAR C0000001 - NCI - -"],
        "MRRANK": RANKS,
        "MRCUI": ["C1 SY C0000001", "C2 RB C0000002"],
    }
    shuffled = {name: chance.sample(rows, len(rows)) for name, rows in tables.items()}
    first, second = (
        read(write_meta(tmp_path_factory.mktemp("rows"), which), languages=["ENG", "FRE"], relations=True, suppressed=True) for which in (tables, shuffled)
    )
    for table in ("concepts", "names", "relations", "retired"):
        assert getattr(first, table).equals(getattr(second, table))
    assert [(r.code, r.reason, r.text) for r in first.rejections] == [(r.code, r.reason, r.text) for r in second.rejections]


def test_crlf_and_a_byte_order_mark_change_nothing(tmp_path: Path, meta: Path) -> None:
    other = write_meta(tmp_path / "windows", end="\r\n", start="\ufeff")
    assert read(other).names.equals(read(meta).names)
    assert read(other).concepts.equals(read(meta).concepts)


def test_a_zip_a_gz_and_split_members_are_the_same_release(tmp_path: Path, meta: Path) -> None:
    with zipfile.ZipFile(tmp_path / "umls.zip", "w") as archive:
        for path in meta.iterdir():
            archive.write(path, f"2023AB/META/{path.name}")
    split = tmp_path / "split"
    split.mkdir()
    content = (meta / "MRCONSO.RRF").read_bytes()
    (split / "MRCONSO.RRF.ab.gz").write_bytes(gzip.compress(content[100:]))
    (split / "MRCONSO.RRF.aa.gz").write_bytes(gzip.compress(content[:100]))
    (split / "MRSTY.RRF.gz").write_bytes(gzip.compress((meta / "MRSTY.RRF").read_bytes()))
    for source in (tmp_path / "umls.zip", split):
        assert read(source).names.equals(read(meta).names)
    assert read_rrf(tmp_path / "umls.zip").about.release == "2023AB"


def split_meta(folder: Path, meta: Path, *suffixes: str) -> Path:
    """MRCONSO in four parts `aa` to `ad`, of which some are there."""
    folder.mkdir()
    content = (meta / "MRCONSO.RRF").read_bytes()
    for index, suffix in enumerate(("aa", "ab", "ac", "ad")):
        part = content[index * 100 : None if suffix == "ad" else index * 100 + 100]
        for name in (f"MRCONSO.RRF.{suffix}.gz", f"MRCONSO.RRF.{suffix}"):
            if name.removeprefix("MRCONSO.RRF.") in suffixes:
                (folder / name).write_bytes(gzip.compress(part) if name.endswith(".gz") else part)
    shutil.copy(meta / "MRSTY.RRF", folder)
    return folder


@pytest.mark.parametrize(("there", "missing"), [(("aa.gz", "ac.gz"), "ab"), (("ab.gz", "ac.gz"), "aa"), (("ab",), "aa"), (("aa", "ab", "ad.gz"), "ac")])
def test_a_missing_part_of_a_split_table_is_named(tmp_path: Path, meta: Path, there: tuple[str, ...], missing: str) -> None:
    with pytest.raises(FormatError, match=rf"MRCONSO\.RRF is split, and its part \.{missing} is missing"):
        read(split_meta(tmp_path / "split", meta, *there))


def test_a_part_that_is_there_plain_and_packed_counts_once(tmp_path: Path, meta: Path) -> None:
    assert read(split_meta(tmp_path / "split", meta, "aa", "aa.gz", "ab.gz", "ac", "ad.gz", "ad")).names.equals(read(meta).names)


def test_tables_that_are_not_as_mrfiles_states_are_reported_with_both_counts(tmp_path: Path) -> None:
    meta = write_meta(tmp_path)
    sizes = {name: (meta / f"{name}.RRF").stat().st_size for name in ("MRCONSO", "MRSTY")}

    def reported(atoms_stated: int, extra: int, *more: str) -> list[tuple[str, str, str]]:
        rows = [f"MRCONSO.RRF|Names|CUI|18|{atoms_stated}|{sizes['MRCONSO']}|", f"MRSTY.RRF|Types|CUI|6|7|{sizes['MRSTY'] + extra}|", *more]
        (meta / "MRFILES.RRF").write_text("\n".join(rows))  # the last row without an end, as the library writes it
        return [(r.where, r.reason, r.text) for r in read(meta).rejections if r.reason != "no_semantic_type"]

    atoms = sizes["MRCONSO"]
    assert reported(12, 0, "CHANGE/MERGEDCUI.RRF|Merged|CUI|2|9|9|", "MRHIER.RRF|Not read|CUI|9|9|9|") == []
    assert reported(13, 0) == [("MRCONSO.RRF", "rows_missing", f"MRFILES states 13 rows of {atoms} bytes, found 12 of {atoms}")]
    assert [reason for _, reason, _ in reported(11, 5)] == ["rows_added", "bytes_differ"]
    assert reported(12, 0, "MRREL.RRF|Links|CUI|16|50|9999|") == [("MRREL.RRF", "rows_missing", "MRFILES states 50 rows of 9999 bytes, there is no such file")]
    with pytest.raises(FormatError, match="cannot be read"):
        reported(12, 0, "MRREL.RRF|Links|CUI|16|many|9999|")


def test_the_release_is_what_the_content_says_before_what_a_folder_is_called(tmp_path: Path) -> None:
    meta = write_meta(tmp_path / "2019AB" / "META")
    assert read_rrf(meta).about.release == "2019AB"
    source = ["", "", "", "", "", "", "", "", ""]
    rows = [[*source, "2021AA", "", *[""] * 14], [*source, "2020AB", "2022AA", *[""] * 14]]
    (meta / "MRSAB.RRF").write_text("".join("|".join(row) + "|\n" for row in rows))
    assert read_rrf(meta).about.release == "2022AA"
    (meta / "release.dat").write_text("umls.release.name=2023AA\n")
    assert read_rrf(meta).about.release == "2023AA"


def test_messages_name_files_of_archives_by_their_place_inside(tmp_path: Path, meta: Path) -> None:
    (meta / "MRCONSO.RRF").write_text("C0000009|ENG|P|\n")
    with zipfile.ZipFile(tmp_path / "umls.zip", "w") as archive:
        for path in meta.iterdir():
            archive.write(path, f"2023AB/META/{path.name}")
        archive.writestr("2023AB/META/MRDEF.RRF.gz", b"no gzip")
    with pytest.raises(FormatError) as caught:
        read_rrf(tmp_path / "umls.zip")
    assert str(caught.value).startswith(f"{tmp_path}/umls.zip/2023AB/META/MRDEF.RRF.gz: damaged")
    for path in (meta / "MRCONSO.RRF", meta / "MRSTY.RRF"):
        path.with_suffix(".RRF.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    with pytest.raises(FormatError) as other:
        read_rrf(meta)
    assert str(other.value).startswith(f"{meta}/MRCONSO.RRF:1: 3 columns")


def test_sources_of_a_preset_that_the_release_lacks_are_reported(meta: Path) -> None:
    absent = [r.text for r in read(meta, preset="medmentions-st21pv").rejections if r.reason == "source_not_in_release"]
    assert absent == [f"SAB {name}: no row" for name in sorted({*PRESETS["medmentions-st21pv"].sources} - {"MSH", "NCI", "SNOMEDCT_US"})]
    assert "source_not_in_release" not in {r.reason for r in read(meta, preset="medmentions-st21pv", sources=["NCI"]).rejections}
    assert "source_not_in_release" not in {r.reason for r in read(meta).rejections}


def test_tables_in_nlm_containers_are_to_be_unpacked_first(tmp_path: Path) -> None:
    folder = tmp_path / "2017AA-full"
    folder.mkdir()
    with zipfile.ZipFile(folder / "2017aa-1-meta.nlm", "w") as archive:
        archive.writestr("2017AA/META/MRCONSO.RRF.aa.gz", b"")
    with zipfile.ZipFile(tmp_path / "full.zip", "w") as archive:
        archive.write(folder / "2017aa-1-meta.nlm", "2017AA-full/2017aa-1-meta.nlm")
    for source, inside in ((folder, ""), (tmp_path / "full.zip", "2017AA-full/")):
        with pytest.raises(FormatError, match=rf"still packed in {inside}2017aa-1-meta\.nlm; unpack the \.nlm files"):
            read_rrf(source)


def test_a_release_is_found_below_a_folder_and_two_are_asked_about(tmp_path: Path) -> None:
    write_meta(tmp_path / "2023AA" / "META")
    assert read_rrf(tmp_path).about.release == "2023AA"
    write_meta(tmp_path / "2023AB" / "META")
    with pytest.raises(ConfigError, match=r"2 releases .2023AA/META, 2023AB/META.; which one"):
        read_rrf(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path, meta: Path) -> None:
    (meta / "MRSTY.RRF").unlink()
    with pytest.raises(FormatError, match=r"MRSTY\.RRF is missing"):
        read_rrf(meta)
    (tmp_path / "none").mkdir()
    with pytest.raises(FormatError, match=r"MRCONSO\.RRF is missing"):
        read_rrf(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        read_rrf(tmp_path / "nowhere")


def test_a_row_with_a_missing_column_names_its_line(meta: Path) -> None:
    with (meta / "MRCONSO.RRF").open("a") as file:
        file.write("C0000009|ENG|P|\n")
    with pytest.raises(FormatError, match=rf"MRCONSO\.RRF:{len(ATOMS) + 1}: 3 columns where 18 are expected"):
        read_rrf(meta)


def test_a_line_of_gigabytes_is_refused(meta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONGEST", 500)
    with (meta / "MRCONSO.RRF").open("a") as file:
        file.write("x" * 501)
    with pytest.raises(FormatError, match="longer than 500 bytes"):
        read_rrf(meta)


def test_damaged_and_hostile_archives_are_refused(tmp_path: Path, meta: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.write(meta / "MRCONSO.RRF", "META/MRCONSO.RRF")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../META/MRCONSO.RRF", "x")
    (meta / "MRSTY.RRF").unlink()
    (meta / "MRSTY.RRF.gz").write_bytes(gzip.compress(b"C0000001|T047|A|B||" * 99)[:-9])
    for source, problem in ((tmp_path / "cut.zip", "cannot be read"), (tmp_path / "evil.zip", "leads out"), (meta, "damaged gzip")):
        with pytest.raises(FormatError, match=problem):
            read_rrf(source)


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"languages": ["ENGL"]}, "ENG"),
        ({"sources": ["SNOMED"]}, "SNOMEDCT_US"),
        ({"term_types": ["MHX"]}, "MH"),
        ({"semantic_types": ["T99"]}, "T09"),
        ({"groups": ["DISOR"]}, "DISO"),
        ({"preset": "medmentions"}, "medmentions-st21pv"),
    ],
)
def test_an_unknown_name_gives_the_nearest(options: dict[str, Any], near: str, meta: Path) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{near}"):
        read_rrf(meta, **options)


def test_a_rank_that_is_no_number_is_a_format_error(meta: Path) -> None:
    (meta / "MRRANK.RRF").write_text("first|MSH|MH|N|\n")
    with pytest.raises(FormatError, match="cannot be read"):
        read_rrf(meta)


def test_filters_that_leave_nothing_say_so(meta: Path) -> None:
    with pytest.raises(ConfigError, match="leave no concept"):
        read_rrf(meta, languages=["RUS"])
    with pytest.raises(ConfigError, match="no type in common"):
        read_rrf(meta, preset="quaero", groups=["GENE"])


def test_the_medmentions_preset_maps_types_up_to_its_21(meta: Path) -> None:
    frames = read(meta, preset="medmentions-st21pv")
    found = {code: (row["groups"], row["types"]) for code, row in concepts(frames).items()}
    assert found["C0000001"] == (["Biologic Function"], ["T047"])
    assert found["C0000003"] == (["Anatomical Structure", "Chemical"], ["T028", "T116", "T125"])
    assert len(set(PRESETS["medmentions-st21pv"].groups.values())) == 21
    assert len(PRESETS["medmentions-st21pv"].sources) == 18
    assert set(concepts(read(meta, preset="medmentions-st21pv", sources=["NCI"]))) == {"C0000003"}


def test_the_quaero_preset_has_ten_groups_and_french_names(meta: Path) -> None:
    frames = read(meta, preset="quaero")
    assert len(set(PRESETS["quaero"].groups.values())) == 10
    assert concepts(frames)["C0000003"]["groups"] == ["CHEM"]
    assert ("Infarctus", "fr", True) in names(frames)


def test_no_release_may_be_passed_on(meta: Path) -> None:
    about = read_rrf(meta, sources=["MSH", "NCI"], suppressed=True).about
    assert not about.redistributable
    assert about.filters == ("source=MSH,NCI", "suppressed=true")


def test_the_sample_release_reads(shared_data: Path) -> None:
    vocabulary = read_rrf(shared_data / "formats" / "rrf", languages=["ALL"])
    assert isinstance(vocabulary.content, Frames)
    assert vocabulary.about.release == "2022AB"
    stated = [(r.where, r.text) for r in vocabulary.content.rejections if r.reason == "rows_missing"]
    assert stated[0] == ("MRCONSO.RRF", "MRFILES states 8751471 rows of 1106049441 bytes, found 8 of 789")
    assert concepts(vocabulary.content)["C0000005"]["types"] == ["T116", "T121", "T130"]
    assert names(vocabulary.content, "C0001361")[:2] == [("Acute tonsillitis", "en", True), ("Tonsillitis acute", "en", False)]
    assert concepts(vocabulary.content)["C0001361"]["definition"].startswith("An acute inflammation of the tonsils")


def test_the_semantic_network_is_a_tree_of_127_types_in_15_groups(shared_data: Path) -> None:
    types = semantic_types()
    assert (len(types), len({kind.group for kind in types.values()})) == (127, 15)
    assert {tui for tui, kind in types.items() if not kind.parent} == {"T051", "T071"}
    assert all(ancestors(tui)[-1] in ("T051", "T071") for tui in types)
    assert descendants("T046") == ("T046", "T047", "T048", "T049", "T050", "T191")
    assert mapped_up(["T038", "T047"]) | {"T191": "T047", "T041": "T038"} == mapped_up(["T038", "T047"])
    assert group_named("Chemicals & Drugs") == "CHEM"
    release = (shared_data / "formats/semtypes/SemanticTypes_2018AB.txt").read_text().splitlines()
    assert {tui: kind.name for tui, kind in types.items()} == {tui: name for _, tui, name in (line.split("|") for line in release)}


def test_languages_are_iso_639_1() -> None:
    assert all(len(lat) == 3 and len(iso) == 2 for lat, iso in LANGUAGES.items())
