"""SNOMED CT RF2: real samples with hand-counted expectations, and miniature releases written row by row."""

import random
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.kb.readers.rf2 import read_rf2, split_roots
from syncabel.kb.readers.rf2_rows import check_digits_hold
from syncabel.kb.vocabulary import CONCEPTS, MAPS, NAMES, RELATIONS, RETIRED, Frames

INT, EXT = "900000000000207008", "449081005"
FSN, SYN, DEF = "900000000000003001", "900000000000013009", "900000000000550004"
IS_A, SITE = "116680003", "363698007"
US, GB, ES = "900000000000509007", "900000000000508004", "448879004"
PREFERRED, ACCEPTABLE = "900000000000548007", "900000000000549004"
SAME_AS, REPLACED_BY, MAYBE, MOVED_TO = "900000000000527005", "900000000000526001", "900000000000523009", "900000000000524003"
ICD10, CTV3 = "447562003", "900000000000497000"
INFERRED, STATED = "900000000000011006", "900000000000010007"

Row = tuple[str, ...]
_COLUMNS = {
    "sct2_Concept_": "definitionStatusId",
    "sct2_Description_": "conceptId languageCode typeId term caseSignificanceId",
    "sct2_TextDefinition_": "conceptId languageCode typeId term caseSignificanceId",
    "sct2_Relationship_": "sourceId destinationId relationshipGroup typeId characteristicTypeId modifierId",
    "sct2_RelationshipConcreteValues_": "sourceId value relationshipGroup typeId characteristicTypeId modifierId",
    "der2_cRefset_Language": "refsetId referencedComponentId acceptabilityId",
    "der2_cRefset_Association": "refsetId referencedComponentId targetComponentId",
    "der2_sRefset_SimpleMap": "refsetId referencedComponentId mapTarget",
    "der2_iisssccRefset_ExtendedMap": "refsetId referencedComponentId mapGroup mapPriority mapRule mapAdvice mapTarget correlationId mapCategoryId",
}


def concept(code: str, active: str = "1", time: str = "20200131", module: str = INT) -> tuple[str, Row]:
    return "sct2_Concept_", (code, time, active, module, "900000000000074008")


def description(code: str, of: str, term: str, kind: str = SYN, language: str = "en", active: str = "1", time: str = "20200131") -> tuple[str, Row]:
    return "sct2_Description_", (code, time, active, INT, of, language, kind, term, "900000000000448009")


def definition(code: str, of: str, term: str, language: str = "en", active: str = "1", time: str = "20200131") -> tuple[str, Row]:
    return "sct2_TextDefinition_", (code, time, active, INT, of, language, DEF, term, "900000000000448009")


def relationship(code: str, source: str, target: str, kind: str = IS_A, group: str = "0", active: str = "1", how: str = INFERRED) -> tuple[str, Row]:
    return "sct2_Relationship_", (code, "20200131", active, INT, source, target, group, kind, how, "900000000000451002")


def member(file: str, refset: str, of: str, *rest: str, active: str = "1") -> tuple[str, Row]:
    pattern = next(name for name in _COLUMNS if name.endswith(file))
    return pattern, ("-".join((refset, of, *rest)).replace("\t", " "), "20200131", active, INT, refset, of, *rest)


ROWS = [
    concept("138875005"),
    concept("404684003"),
    concept("64572001"),
    concept("73211009"),
    concept("123037004"),
    concept(SITE),
    description("1001", "138875005", "SNOMED CT Concept (SNOMED RT+CTV3)", FSN),
    description("2001", "404684003", "Clinical finding (finding)", FSN),
    description("3001", "64572001", "Disease (disorder)", FSN),
    description("4001", "73211009", "Diabetes mellitus (disorder)", FSN),
    description("4002", "73211009", "Diabetes mellitus"),
    description("5001", "123037004", "Body structure (body structure)", FSN),
    description("6001", SITE, "Finding site (attribute)", FSN),
    relationship("11", "404684003", "138875005"),
    relationship("12", "64572001", "404684003"),
    relationship("13", "73211009", "64572001"),
    relationship("14", "123037004", "138875005"),
]


def written(
    folder: Path,
    *more: tuple[str, Row],
    rows: Iterable[tuple[str, Row]] = ROWS,
    view: str = "Snapshot",
    date: str = "20200131",
    owner: str = "INT",
    x: str = "",
) -> Path:
    """A release with these rows; a file for every kind that has some."""
    tables: dict[str, list[Row]] = {"sct2_Concept_": [], "sct2_Description_": [], "sct2_Relationship_": []}
    for file, row in [*rows, *more]:
        tables.setdefault(file, []).append(row)
    for file, lines in tables.items():
        path = folder / view / ("Terminology" if file.startswith("sct2") else "Refset") / f"{x}{file}{view}_{owner}_{date}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = ["id", "effectiveTime", "active", "moduleId", *_COLUMNS[file].split()]
        path.write_text("".join("\t".join(line) + "\n" for line in [header, *lines]), encoding="utf-8")
    return folder


def file_of(folder: Path, kind: str) -> Path:
    return next(folder.rglob(f"*{kind}*.txt"))


def frames(source: Path | Sequence[Path], **options: Any) -> Frames:
    content = read_rf2(source, **options).content
    assert isinstance(content, Frames)
    for frame, schema in zip(
        (content.concepts, content.names, content.relations, content.retired, content.maps), (CONCEPTS, NAMES, RELATIONS, RETIRED, MAPS), strict=True
    ):
        assert dict(frame.schema) == schema
    assert not content.concepts["code"].is_duplicated().any()
    assert not content.retired["code"].is_duplicated().any()
    return content


def names(content: Frames, code: str, language: str = "en") -> list[str]:
    """The names in order, the preferred one with a star."""
    mine = content.names.filter((content.names["code"] == code) & (content.names["language"] == language))
    return [("*" if preferred else "") + text for text, preferred in mine.select("text", "preferred").iter_rows()]


def cell(content: Frames, code: str, column: str) -> Any:
    value = content.concepts.filter(content.concepts["code"] == code)[column].to_list()[0]
    return [] if value is None and column != "definition" else value


def reasons(content: Frames) -> list[tuple[str, str, str]]:
    return [(rejection.where.split("_")[1] + ":" + rejection.where.rpartition(":")[2], rejection.code, rejection.reason) for rejection in content.rejections]


class TestRealSamples:
    def test_the_clean_sample_is_read_whole(self, shared_data: Path) -> None:
        vocabulary = read_rf2(shared_data / "formats/rf2/clean_SnomedCT_MiniRF2_20180731T120000Z")
        content = vocabulary.content
        assert isinstance(content, Frames)
        # By hand: 17 concepts, 15 of them with an FSN and nothing else (762705008 and 762706009 have no description), 11 is-a rows, 1 other.
        assert (content.concepts.height, content.names.height, content.relations.height) == (17, 30, 1)
        assert content.concepts["parents"].list.len().sum() == 11
        assert content.relations.row(0) == ("362969004", "Finding site", "113331007", 0)
        assert names(content, "12481008") == ["*Incision of middle ear", "Incision of middle ear (procedure)"]
        assert content.rejections == ()
        about = vocabulary.about
        assert (about.source, about.release, about.redistributable) == ("SNOMED CT", "INT 20180731", False)
        groups = content.concepts["groups"].explode().value_counts()
        assert dict(groups.iter_rows()) == {
            "SNOMED RT+CTV3": 1, "metadata": 1, "attribute": 5, "foundation metadata concept": 2, "untagged": 2,
            "qualifier value": 2, "body structure": 1, "finding": 1, "disorder": 1, "procedure": 1,
        }  # fmt: skip

    def test_a_sample_with_comments_names_every_line_it_skips(self, shared_data: Path) -> None:
        content = frames(shared_data / "formats/rf2/snomedboot_SnomedCT_MiniRF2_Base_snapshot")
        assert (content.concepts.height, content.names.height, content.relations.height) == (11, 20, 1)
        assert cell(content, "362969004", "definition") == "Endocrine system disease"
        # By hand: 3 lines above each of four headers; 11 × (blank, comment) among concepts, 10 × among relationships; the file of concrete values.
        assert [reason for _, _, reason in reasons(content)].count("comment_or_blank") == 3 * 4 + 11 * 2 + 10 * 2
        assert [rejection.reason for rejection in content.rejections if rejection.reason != "comment_or_blank"] == ["concrete_values"]
        skipped = [rejection for rejection in content.rejections if rejection.text == "# Snomed concept (the root)"]
        assert [rejection.where for rejection in skipped] == ["sct2_Concept_Snapshot_INT_20210131.txt:6"]

    def test_a_concept_without_description_has_a_group_and_no_name(self, shared_data: Path) -> None:
        content = frames(shared_data / "formats/rf2/snomedboot_SnomedCT_MiniRF2_Base_snapshot")
        assert cell(content, "73211009", "groups") == ["untagged"]
        assert names(content, "73211009") == []

    def test_the_invalid_sample_is_refused_at_its_line(self, shared_data: Path) -> None:
        with pytest.raises(FormatError, match="no column 'id'") as caught:
            read_rf2(shared_data / "formats/rf2/snomedboot_invalid")
        assert caught.value.line == 5


class TestNames:
    def test_the_fsn_without_its_tag_is_preferred_where_no_set_prefers_a_synonym(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, description("3002", "64572001", "Illness")))
        assert names(content, "64572001") == ["*Disease", "Illness", "Disease (disorder)"]
        assert names(content, "73211009") == ["*Diabetes mellitus", "Diabetes mellitus (disorder)"]
        assert set(content.names["scope"]) == {"exact"}

    def test_an_fsn_without_tag_stays_one_name(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, concept("200001"), description("7001", "200001", "Untidy thing", FSN)))
        assert names(content, "200001") == ["*Untidy thing"]
        assert cell(content, "200001", "groups") == ["untagged"]

    def test_a_synonym_alone_is_preferred(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, concept("200001"), description("7002", "200001", "b"), description("7001", "200001", "a")))
        assert names(content, "200001") == ["*a", "b"]

    def test_the_set_asked_for_prefers_and_the_others_follow(self, tmp_path: Path) -> None:
        tumour = [
            concept("108369006"),
            description("7001", "108369006", "Neoplasm (morphologic abnormality)", FSN),
            description("7002", "108369006", "Tumour"),
            description("7003", "108369006", "Tumor"),
            description("7004", "108369006", "Neoplasm"),
            description("7005", "108369006", "Growth"),
            member("Language", GB, "7002", PREFERRED),
            member("Language", US, "7003", PREFERRED),
            member("Language", US, "7004", ACCEPTABLE),
            member("Language", GB, "7004", ACCEPTABLE),
            member("Language", US, "7001", PREFERRED),
            member("Language", US, "7005", PREFERRED, active="0"),
        ]
        source = written(tmp_path, *tumour)
        rest = ["Neoplasm", "Growth", "Neoplasm (morphologic abnormality)"]
        assert names(frames(source), "108369006") == ["*Tumor", "Tumour", *rest]  # a tie: US English
        assert names(frames(source, language_refsets=[GB]), "108369006") == ["*Tumour", "Tumor", *rest]
        assert names(frames(source, language_refsets=["en-GB"]), "108369006") == ["*Tumour", "Tumor", *rest]
        assert cell(frames(source), "108369006", "groups") == ["morphologic abnormality"]
        with pytest.raises(UnknownNameError, match=r"language reference set '448879004'.*known: "):
            read_rf2(source, language_refsets=[ES])

    def test_by_default_the_set_that_prefers_most_synonyms_comes_first(self, tmp_path: Path) -> None:
        extra = [description("4003", "73211009", "DM"), description("3002", "64572001", "Illness")]
        sets = [member("Language", GB, "4003", PREFERRED), member("Language", GB, "3002", PREFERRED), member("Language", US, "4002", PREFERRED)]
        assert names(frames(written(tmp_path, *extra, *sets)), "73211009")[0] == "*DM"

    def test_languages_are_chosen_and_ordered(self, tmp_path: Path) -> None:
        spanish = [
            description("8001", "73211009", "diabetes mellitus (trastorno)", FSN, "es"),
            description("8002", "73211009", "diabetes", language="es"),
            description("8003", "73211009", "DM", language="es"),
            member("Language", ES, "8003", PREFERRED),
            definition("9001", "73211009", "An English text."),
            definition("9002", "73211009", "Un texto.", "es"),
        ]
        source = written(tmp_path, *spanish)
        both = frames(source)
        assert both.names.filter(both.names["code"] == "73211009")["language"].to_list() == ["en"] * 2 + ["es"] * 3
        assert (cell(both, "73211009", "groups"), cell(both, "73211009", "definition")) == (["disorder"], "An English text.")
        only = frames(source, languages=["es"])
        assert names(only, "73211009", "es") == ["*DM", "diabetes", "diabetes mellitus (trastorno)"]
        assert set(only.names["language"]) == {"es"}
        assert (cell(only, "73211009", "groups"), cell(only, "73211009", "definition")) == (["trastorno"], "Un texto.")
        assert only.concepts["code"].to_list() == ["73211009"]  # the others have no Spanish name
        mixed = frames(source, languages=["es", "en"])
        assert [cell(mixed, code, "groups") for code in ("73211009", "64572001")] == [["trastorno"], ["disorder"]]
        assert mixed.names.filter(mixed.names["code"] == "73211009")["text"][0] == "DM"
        assert cell(frames(source, definitions=False), "73211009", "definition") is None
        with pytest.raises(UnknownNameError, match="language 'fr'"):
            read_rf2(source, languages=["fr"])

    def test_of_two_definitions_the_latest_is_taken(self, tmp_path: Path) -> None:
        texts = [definition("9001", "73211009", "old"), definition("9002", "73211009", "new", time="20210131"), definition("9003", "73211009", "x", active="0")]
        assert cell(frames(written(tmp_path, *texts)), "73211009", "definition") == "new"

    def test_inactive_rows_and_descriptions_of_nothing_are_no_names(self, tmp_path: Path) -> None:
        more = [description("4009", "73211009", "Sugar", active="0"), description("4010", "999", "Stray"), description("4011", "73211009", "T", "123456")]
        content = frames(written(tmp_path, *more))
        assert {"Sugar", "Stray", "T"}.isdisjoint(content.names["text"])
        assert reasons(content) == [("Description:10", "999", "unknown_concept"), ("Description:11", "73211009", "unknown_description_type")]

    def test_quotes_and_odd_spaces_in_terms_stay(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, description("4003", "73211009", '"Sugar" \u2028 "x')))
        assert '"Sugar" \u2028 "x' in names(content, "73211009")


class TestRelationships:
    def test_two_between_one_pair_in_two_role_groups_are_two(self, tmp_path: Path) -> None:
        groups = [relationship(str(20 + i), "73211009", "123037004", SITE, str(i)) for i in (1, 2)]
        others = [
            relationship("23", "73211009", "123037004", SITE, "3", active="0"),
            relationship("24", "73211009", "123037004", SITE, "4", how=STATED),
            relationship("25", "73211009", "123037004", "246075003", "5"),
        ]
        content = frames(written(tmp_path, *groups, *others))
        assert sorted(content.relations.rows()) == [
            ("73211009", "246075003", "123037004", 5),  # an attribute without description: its id
            ("73211009", "Finding site", "123037004", 1),
            ("73211009", "Finding site", "123037004", 2),
        ]

    def test_parents_are_distinct_and_those_of_unknown_concepts_are_reported(self, tmp_path: Path) -> None:
        more = [relationship("21", "73211009", "64572001"), relationship("22", "73211009", "404684003"), relationship("23", "777", "64572001")]
        content = frames(written(tmp_path, *more))
        assert cell(content, "73211009", "parents") == ["64572001", "404684003"]
        assert reasons(content) == [("Relationship:8", "777", "unknown_concept")]

    def test_ids_of_eighteen_digits_keep_every_digit(self, tmp_path: Path) -> None:
        code = "999999999999999989"
        content = frames(written(tmp_path, concept(code), description("900000000000000117", code, "Big"), relationship("99", code, "64572001")))
        assert names(content, code) == ["*Big"]
        assert cell(content, code, "parents") == ["64572001"]

    def test_concrete_values_are_left_out_and_said(self, tmp_path: Path) -> None:
        value = ("sct2_RelationshipConcreteValues_", ("31", "20200131", "1", INT, "73211009", "#3", "0", SITE, INFERRED, "900000000000451002"))
        content = frames(written(tmp_path, value))
        assert content.relations.is_empty()
        assert [rejection.reason for rejection in content.rejections] == ["concrete_values"]


class TestHistory:
    @pytest.fixture
    def content(self, tmp_path: Path) -> Frames:
        old = [concept(str(code), active="0") for code in range(301, 314)]
        said = [
            (SAME_AS, "301", "73211009"),
            (REPLACED_BY, "302", "301"),  # through 301
            (SAME_AS, "303", "64572001"),
            (SAME_AS, "303", "73211009"),  # two: not one to one
            (MAYBE, "304", "64572001"),
            (MAYBE, "304", "302"),  # which is now 73211009
            (SAME_AS, "305", "306"),
            (SAME_AS, "306", "305"),  # a circle
            (MOVED_TO, "307", "138875005"),
            ("1234567890", "309", "64572001"),
            (SAME_AS, "310", "308"),  # 308 has no successor
            (SAME_AS, "311", "64572001"),
            (MAYBE, "311", "404684003"),
            (SAME_AS, "312", "64572001"),
            (MOVED_TO, "312", "138875005"),
            (SAME_AS, "313", "64572001"),
            (MAYBE, "313", "64572001"),
            (SAME_AS, "404684003", "64572001"),  # of an active concept: no history
        ]
        return frames(written(tmp_path, *old, *(member("Association", *row) for row in said), member("Association", SAME_AS, "308", "64572001", active="0")))

    def test_one_to_one_links_become_alternative_codes_through_chains(self, content: Frames) -> None:
        assert cell(content, "73211009", "alt_codes") == ["301", "302"]
        assert cell(content, "404684003", "alt_codes") == []

    def test_a_concept_of_which_an_association_names_a_third_is_no_alternative_code_and_keeps_both(self, content: Frames) -> None:
        assert cell(content, "64572001", "alt_codes") == ["312", "313"]  # 312 has moved too, and of 313 both associations name one concept
        assert content.retired.filter(code="311")["reason"].to_list() == ["POSSIBLY_EQUIVALENT_TO,SAME_AS"]

    def test_the_others_are_retired_with_what_is_said_of_them(self, content: Frames) -> None:
        assert {code: (reason, set(successors or ())) for code, reason, successors in content.retired.iter_rows()} == {
            "303": ("SAME_AS", {"64572001", "73211009"}),
            "304": ("POSSIBLY_EQUIVALENT_TO", {"64572001", "73211009"}),
            "305": ("SAME_AS", {"306"}),
            "306": ("SAME_AS", {"305"}),
            "307": ("MOVED_TO", set()),
            "308": ("inactive", set()),
            "309": ("1234567890", {"64572001"}),
            "310": ("SAME_AS", {"308"}),
            "311": ("POSSIBLY_EQUIVALENT_TO,SAME_AS", {"64572001", "404684003"}),
        }


class TestMaps:
    RULES = (
        member("ExtendedMap", ICD10, "73211009", "1", "2", "OTHERWISE TRUE", "ALWAYS E14.9", "E14.9", "447561005", "447637006"),
        member("ExtendedMap", ICD10, "73211009", "1", "1", "IFA 248152002 | Female |", "IF FEMALE CHOOSE O24.9", "O24.9", "447561005", "447639009"),
        member("ExtendedMap", ICD10, "64572001", "1", "1", "TRUE", "CANNOT BE CLASSIFIED", "", "447561005", "447638001"),
        member("SimpleMap", CTV3, "73211009", "C10.."),
        member("SimpleMap", "1234567890", "73211009", "Q1"),
        member("SimpleMap", CTV3, "73211009", "XaXXX", active="0"),
        member("SimpleMap", CTV3, "999", "Xnone"),
    )

    def test_maps_are_rules_and_cross_references(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, *self.RULES))
        assert content.maps.rows() == [
            ("73211009", "1234567890:Q1", 0, 0, "", ""),
            ("73211009", "CTV3:C10..", 0, 0, "", ""),
            ("73211009", "ICD10:O24.9", 1, 1, "IFA 248152002 | Female |", "IF FEMALE CHOOSE O24.9"),
            ("73211009", "ICD10:E14.9", 1, 2, "OTHERWISE TRUE", "ALWAYS E14.9"),
        ]
        assert cell(content, "73211009", "xrefs") == ["1234567890:Q1", "CTV3:C10..", "ICD10:O24.9", "ICD10:E14.9"]
        assert [(r.code, r.reason, r.text) for r in content.rejections] == [("64572001", "no_map_target", "ICD10  CANNOT BE CLASSIFIED")]

    def test_extended_maps_of_national_editions_may_have_other_last_columns(self, tmp_path: Path) -> None:
        path = file_of(written(tmp_path, *self.RULES[:2]), "ExtendedMap")
        path.write_text(path.read_text().replace("mapCategoryId", "mapBlock"))
        path.rename(path.with_name("der2_iisssciRefset_ExtendedMapUKCLSnapshot_GB1000000_20200131.txt"))
        assert cell(frames(tmp_path), "73211009", "xrefs") == ["ICD10:O24.9", "ICD10:E14.9"]

    def test_map_sets_are_chosen_by_name_or_id(self, tmp_path: Path) -> None:
        source = written(tmp_path, *self.RULES)
        assert cell(frames(source, map_refsets=["ICD10"]), "73211009", "xrefs") == ["ICD10:O24.9", "ICD10:E14.9"]
        assert cell(frames(source, map_refsets=[CTV3]), "73211009", "xrefs") == ["CTV3:C10.."]
        assert frames(source, map_refsets=()).maps.is_empty()
        with pytest.raises(UnknownNameError, match="map reference set 'ICD11'"):
            read_rf2(source, map_refsets=["ICD11"])


class TestScope:
    def test_roots_bring_all_below_and_links_to_the_rest_go(self, tmp_path: Path) -> None:
        source = written(tmp_path, relationship("20", "73211009", "123037004", SITE, "1"), relationship("21", "73211009", "64572001", SITE, "1"))
        content = frames(source, descendants_of=["64572001"])
        assert set(content.concepts["code"]) == {"64572001", "73211009"}
        assert cell(content, "64572001", "parents") == []
        assert content.relations.rows() == [("73211009", "Finding site", "64572001", 1)]
        assert set(content.names["code"]) == {"64572001", "73211009"}
        assert set(frames(source, descendants_of=["64572001", "<< 123037004 |Body structure|"]).concepts["code"]) == {"64572001", "73211009", "123037004"}
        assert set(frames(source, descendants_of=["<64572001"]).concepts["code"]) == {"73211009"}
        assert read_rf2(source, descendants_of=["64572001"]).about.filters == ("view=snapshot", "descendants_of=64572001")
        vocabulary = read_rf2(source, descendants_of=["64572001 |Disease, any|", " << 123037004 | x |", "<404684003"])
        assert vocabulary.about.filters[1] == "descendants_of=64572001,<<123037004,<404684003"

    def test_a_circle_of_is_a_is_walked_once(self, tmp_path: Path) -> None:
        source = written(tmp_path, relationship("20", "64572001", "73211009"))
        assert set(frames(source, descendants_of=["64572001"]).concepts["code"]) == {"64572001", "73211009"}

    def test_retired_codes_follow_their_successors(self, tmp_path: Path) -> None:
        old = [concept("301", "0"), concept("302", "0"), concept("303", "0"), member("Association", MAYBE, "301", "123037004")]
        source = written(tmp_path, *old, member("Association", MAYBE, "302", "73211009"))
        assert set(frames(source, descendants_of=["64572001"]).retired["code"]) == {"302", "303"}

    @pytest.mark.parametrize(("root", "error"), [("999999", UnknownNameError), ("diabetes", ConfigError), ("<<<64572001", ConfigError)])
    def test_a_root_that_is_none_is_named(self, tmp_path: Path, root: str, error: type[Exception]) -> None:
        with pytest.raises(error, match=root):
            read_rf2(written(tmp_path), descendants_of=[root])

    def test_modules_choose_concepts(self, tmp_path: Path) -> None:
        more = [concept("200001", module=EXT), description("7001", "200001", "Local"), relationship("30", "200001", "64572001")]
        source = written(tmp_path, *more)
        assert frames(source, modules=[EXT]).concepts["code"].to_list() == ["200001"]
        with pytest.raises(UnknownNameError, match="module '12'"):
            read_rf2(source, modules=["12"])


class TestReleases:
    def test_of_an_edition_and_its_extension_the_later_row_holds(self, tmp_path: Path) -> None:
        edition = written(tmp_path / "int")
        extension = written(
            tmp_path / "es",
            concept("73211009", active="0", time="20191231"),  # earlier than the edition's
            description("4002", "73211009", "Diabetes mellitus", active="0", time="20210101"),  # later
            concept("200001"),
            description("7001", "200001", "Local (disorder)", FSN),
            rows=[],
            owner="ES1000146",
            date="20210430",
        )
        content = frames([edition, extension])
        assert names(content, "73211009") == ["*Diabetes mellitus", "Diabetes mellitus (disorder)"]  # the first made from the FSN
        assert names(content, "200001") == ["*Local", "Local (disorder)"]
        assert read_rf2([edition, extension]).about.release == "INT 20200131 + ES1000146 20210430"

    def test_sources_that_differ_at_one_time_are_reported_and_their_order_does_not_matter(self, tmp_path: Path) -> None:
        same = [concept("404684003"), description("2001", "404684003", "Clinical finding (finding)", FSN)]
        differs = [description("4002", "73211009", "Sugar disease"), concept("123037004", active="0")]
        old = description("4001", "73211009", "Of no account", FSN, time="20190131")

        def result(*sources: Path) -> tuple[list[Any], ...]:
            vocabulary = read_rf2([*sources])
            assert isinstance(vocabulary.content, Frames)
            content = vocabulary.content
            tables = [getattr(content, table).rows() for table in ("concepts", "names", "relations", "retired", "maps")]
            return [vocabulary.about, tables], [(r.where, r.code, r.reason, r.text) for r in content.rejections if r.reason == "differs_between_sources"]

        edition = written(tmp_path / "int", date="20200731")
        earlier = written(tmp_path / "earlier", *same, *differs, old, rows=[], owner="ES1000146", date="20200430")
        equal = written(tmp_path / "equal", *same, *differs, old, rows=[], owner="ES1000146", date="20200731")
        first, reported = result(edition, earlier)
        assert result(earlier, edition) == (first, reported)
        held = "other values at 20200131; sct2_Description_Snapshot_INT_20200731.txt holds"
        assert reported == [
            ("sct2_Concept_Snapshot_ES1000146_20200430.txt:3", "123037004", "differs_between_sources", held.replace("Description", "Concept")),
            ("sct2_Description_Snapshot_ES1000146_20200430.txt:3", "4002", "differs_between_sources", held),
        ]
        assert names(frames([edition, earlier]), "73211009")[0] == "*Diabetes mellitus"  # of the later release
        second, reported = result(edition, equal)
        assert result(equal, edition) == (second, reported)
        assert [(where, code) for where, code, _, _ in reported] == [
            ("sct2_Concept_Snapshot_INT_20200731.txt:6", "123037004"),
            ("sct2_Description_Snapshot_INT_20200731.txt:6", "4002"),
        ]
        assert "Sugar disease" in names(frames([equal, edition]), "73211009")  # of the extension

    def test_two_releases_in_one_folder_are_asked_about(self, tmp_path: Path) -> None:
        written(tmp_path / "a")
        written(tmp_path / "b", date="20210131")
        with pytest.raises(ConfigError, match=r"INT 20200131 in a/Snapshot/Terminology; INT 20210131 in b/Snapshot/Terminology\); which one\?"):
            read_rf2(tmp_path)
        assert frames(tmp_path / "b").concepts.height == 6

    def test_full_and_snapshot_in_one_folder_are_one_release(self, tmp_path: Path) -> None:
        written(written(tmp_path), concept("73211009", active="0", time="20010131"), view="Full")
        snapshot, full = frames(tmp_path), frames(tmp_path, view="full")
        assert snapshot.concepts.sort("code").equals(full.concepts.sort("code"))

    def test_beta_releases_have_an_x_before_their_names(self, tmp_path: Path) -> None:
        assert frames(written(tmp_path, x="x")).concepts.height == 6

    @pytest.mark.parametrize("kind", ["Concept", "Description", "Relationship"])
    def test_a_missing_file_is_named(self, tmp_path: Path, kind: str) -> None:
        file_of(written(tmp_path), f"sct2_{kind}_").unlink()
        with pytest.raises(FormatError, match=f"no {kind} file"):
            read_rf2(tmp_path)

    def test_a_view_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="no RF2 full files; the release has the view 'snapshot'"):
            read_rf2(written(tmp_path), view="full")
        with pytest.raises(UnknownNameError, match="view 'delta'"):
            read_rf2(tmp_path, view="delta")
        (tmp_path / "empty").mkdir()
        with pytest.raises(FormatError, match="no RF2 snapshot files"):
            read_rf2(tmp_path / "empty")

    def test_zips_are_read_and_damaged_or_hostile_ones_refused(self, tmp_path: Path) -> None:
        written(tmp_path / "release")
        packed = Path(shutil.make_archive(str(tmp_path / "release"), "zip", tmp_path / "release"))
        assert frames(packed).concepts.equals(frames(tmp_path / "release").concepts)
        cut = tmp_path / "cut.zip"
        cut.write_bytes(packed.read_bytes()[:-200])
        with pytest.raises(FormatError, match=r"cut\.zip: the archive cannot be read"):
            read_rf2(cut)
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr("../evil.txt", "x")
        with pytest.raises(FormatError, match="leads out of it"):
            read_rf2(packed)
        file_of(tmp_path / "release", "Concept_").write_text("nothing\n")
        packed = Path(shutil.make_archive(str(tmp_path / "broken"), "zip", tmp_path / "release"))
        with pytest.raises(FormatError, match=r"broken\.zip/Snapshot/Terminology/sct2_Concept_Snapshot_INT_20200131\.txt:1: the header has no column"):
            read_rf2(packed)
        with pytest.raises(FileNotFoundError):
            read_rf2(tmp_path / "none.zip")


class TestFaults:
    def test_carriage_returns_and_a_byte_order_mark_change_nothing(self, tmp_path: Path) -> None:
        plain = frames(written(tmp_path, TestMaps.RULES[3], definition("9001", "73211009", "Text.")))
        for path in tmp_path.rglob("*.txt"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        windows = frames(tmp_path)
        assert all(getattr(plain, table).equals(getattr(windows, table)) for table in ("concepts", "names", "relations", "maps"))

    def test_comments_and_blank_lines_are_reported_with_their_lines(self, tmp_path: Path) -> None:
        path = file_of(written(tmp_path), "Relationship_")
        lines = path.read_text().splitlines()
        path.write_text("\n".join(["# above", *lines[:2], "", *lines[2:], "# below"]) + "\n")
        content = frames(tmp_path)
        assert reasons(content) == [
            ("Relationship:1", "", "comment_or_blank"),
            ("Relationship:4", "", "comment_or_blank"),
            ("Relationship:8", "", "comment_or_blank"),
        ]
        assert cell(content, "73211009", "parents") == ["64572001"]

    @pytest.mark.parametrize("value", ["1.23E+17", "9.00000000000207e+17", "73211009.0", "1,5E+10"])
    def test_an_id_that_a_spreadsheet_made_a_float_is_refused_with_its_line(self, tmp_path: Path, value: str) -> None:
        path = file_of(written(tmp_path), "Description_")
        path.write_text(path.read_text().replace("73211009", value))
        with pytest.raises(FormatError, match="a spreadsheet turned it into a floating-point number") as caught:
            read_rf2(tmp_path)
        assert caught.value.line == 5

    @pytest.mark.parametrize("value", ["abc", "", "-73211009", "073211009", "1234567890123456789", "7321 1009", "٧٣٢١"])
    def test_any_other_id_that_is_none_is_reported_with_its_line(self, tmp_path: Path, value: str) -> None:
        path = file_of(written(tmp_path), "Description_")
        path.write_text(path.read_text().replace("4002\t", "4002\t", 1).replace("73211009\ten\t" + SYN, value + "\ten\t" + SYN))
        content = frames(tmp_path)
        assert [(r.where, r.code, r.reason, r.text) for r in content.rejections] == [(f"{path.name}:6", "4002", "bad_id", f"conceptId: {value}")]

    def test_other_cells_that_cannot_be_read_are_reported(self, tmp_path: Path) -> None:
        rows = [
            ("sct2_Relationship_", ("21", "20200131", "1", INT, "73211009", "64572001", "x", IS_A, INFERRED, "900000000000451002")),
            ("sct2_Relationship_", ("22", "2020", "1", INT, "73211009", "64572001", "0", IS_A, INFERRED, "900000000000451002")),
            ("sct2_Relationship_", ("23", "20200131", "yes", INT, "73211009", "64572001", "0", IS_A, INFERRED, "900000000000451002")),
        ]
        content = frames(written(tmp_path, *rows))
        assert [r.reason for r in content.rejections] == ["bad_number", "bad_time", "bad_active"]

    def test_one_id_with_two_states_at_one_time_is_reported(self, tmp_path: Path) -> None:
        content = frames(written(tmp_path, description("4002", "73211009", "Sugar")))
        assert reasons(content) == [("Description:6", "4002", "duplicate_id")]
        assert names(content, "73211009") == ["*Diabetes mellitus", "Sugar", "Diabetes mellitus (disorder)"]

    def test_a_row_of_another_width_is_refused_with_its_line(self, tmp_path: Path) -> None:
        path = file_of(written(tmp_path), "Relationship_")
        path.write_text(path.read_text().replace("\t64572001\t0\t", "\t64572001\t", 1))
        with pytest.raises(FormatError, match="9 columns where 10 are expected") as caught:
            read_rf2(tmp_path)
        assert caught.value.line == 4

    def test_no_source_and_odd_dates_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no source"):
            read_rf2([])
        written(written(tmp_path), view="Full")
        for date in ("2020-01-31", "20219999", "20210229", "00000101", "2021 131", "٢٠٢١٠١٣١"):
            with pytest.raises(ConfigError, match="YYYYMMDD"):
                read_rf2(tmp_path, date=date, view="full")
        with pytest.raises(ConfigError, match="a snapshot has the latest states only; read the full view"):
            read_rf2(tmp_path, date="20190131")

    def test_ids_that_fail_their_check_digit_are_counted_and_the_first_is_named(self, tmp_path: Path) -> None:
        more = [
            concept("999999999999999000"),
            description("7001", "999999999999999000", "Rounded"),
            concept("200002"),
            description("7002", "200002", "Made up"),
        ]
        content = frames(written(tmp_path, *more))
        assert reasons(content) == [("Concept:8", "999999999999999000", "check_digit")]
        assert content.rejections[0].text.startswith("2 of 8 concept ids, this one first, fail")
        assert names(content, "200002") == ["*Made up"]


class TestWhatIsNotRead:
    def test_each_set_of_maps_or_associations_that_is_not_read_is_reported(self, tmp_path: Path) -> None:
        folder = written(tmp_path / "release", *TestMaps.RULES) / "Snapshot" / "Refset"
        unread = ["der2_sRefset_SimpleMapToSCTSnapshot_INT_20200131.txt", "der2_scccRefset_LOINCMapCorrelationOriginSnapshot_INT_20200131.txt"]
        other = [
            "der2_cRefset_AttributeValueSnapshot_INT_20200131.txt",
            "der2_sRefset_SimpleMapToSCTFull_INT_20200131.txt",
            "der2_Refset_SimpleSnapshot_INT_20200131.txt",
        ]
        for name in (*unread, *other):
            (folder / name).write_text("never opened")
        packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "release"))
        for source in (tmp_path / "release", packed):
            found = [r.where for r in frames(source).rejections if r.reason == "not_read"]
            assert found == sorted(unread)

    def test_a_release_without_hierarchy_says_so(self, tmp_path: Path) -> None:
        rows = [row for row in ROWS if row[0] != "sct2_Relationship_"]
        flat = [*rows, relationship("11", "404684003", "138875005", active="0"), relationship("12", "404684003", "138875005", SITE)]
        assert reasons(frames(written(tmp_path / "flat", rows=flat))) == [("Relationship:sct2_Relationship_Snapshot_INT_20200131.txt", "", "no_hierarchy")]
        with pytest.raises(FormatError, match=r"sct2_Relationship_Snapshot_INT_20200131\.txt: is-a relationships are there as stated only; give"):
            read_rf2(written(tmp_path / "stated", relationship("13", "404684003", "138875005", how=STATED), rows=flat))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 10**17 - 1), min_size=1, max_size=20), st.data())
def test_check_digits_show_every_wrong_digit_and_every_swap_of_neighbours(numbers: list[int], data: st.DataObject) -> None:
    # What Verhoeff's method promises, and what no mere sum of digits does.
    for number in numbers:
        candidates = np.arange(number * 10, number * 10 + 10)
        assert check_digits_hold(candidates).sum() == 1
        right = str(candidates[check_digits_hold(candidates)][0])
        at = data.draw(st.integers(0, len(right) - 2))
        swapped = right[:at] + right[at + 1] + right[at] + right[at + 2 :]
        wrong = right[:at] + str((int(right[at]) + data.draw(st.integers(1, 9))) % 10) + right[at + 1 :]
        for text in {swapped, wrong} - {right}:
            assert text.startswith("0") or not check_digits_hold(np.array([int(text)]))[0]


def test_check_digits_of_real_ids_hold_and_of_rounded_ones_do_not() -> None:
    real = [int(code) for code in (INT, EXT, FSN, IS_A, SITE, US, ES, SAME_AS, ICD10, "73211009")]
    assert check_digits_hold(np.array(real)).all()
    assert not check_digits_hold(np.array([900000000000207000, 900000000000527000])).any()
    assert check_digits_hold(np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("404684003,71388002 , <123037004", ["404684003", "71388002", "<123037004"]),
        ("404684003 |Clinical finding, general|,<< 71388002 |Procedure|", ["404684003 |Clinical finding, general|", "<< 71388002 |Procedure|"]),
        (" ,, ", []),
        ("1 |open, bar,2", ["1 |open, bar,2"]),
    ],
)
def test_a_list_of_roots_is_split_outside_of_terms(text: str, roots: list[str]) -> None:
    assert split_roots(text) == roots


def test_a_knowledge_base_reports_concepts_without_names_and_what_leads_to_them(tmp_path: Path) -> None:
    more = [
        concept("200001"),
        relationship("21", "200001", "64572001"),
        relationship("22", "73211009", "200001"),
        relationship("23", "73211009", "200001", SITE),
    ]
    history = [concept("301", "0"), member("Association", SAME_AS, "301", "73211009")]
    vocabulary = read_rf2(written(tmp_path, *more, *history, *TestMaps.RULES))
    kb = KnowledgeBase.build(vocabulary.content, vocabulary.about)
    assert kb["73211009"].preferred_name == "Diabetes mellitus"
    assert kb["73211009"].alt_codes == ("301",)
    found = {(rejection.code, rejection.reason) for rejection in kb.rejections}
    assert found == {("200001", "no_name"), ("73211009", "unknown_parent"), ("73211009", "unknown_relation_end"), ("64572001", "no_map_target")}


def _state(log: Iterable[tuple[str, Row]], date: str) -> list[tuple[str, Row]]:
    """By the rule itself: of each id the row with the latest time, rows after the date away."""
    last: dict[tuple[str, str], Row] = {}
    for file, row in sorted(log, key=lambda entry: entry[1][1]):
        if row[1] <= date:
            last[file, row[0]] = row
    return [(file, row) for (file, _), row in last.items()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), date=st.sampled_from(["20190131", "20200131", "20210131", "20990131"]))
def test_the_full_view_at_a_date_is_the_snapshot_of_that_date(tmp_path: Path, seed: int, date: str) -> None:
    rng = random.Random(seed)
    rows = [
        *ROWS,
        description("4003", "73211009", "DM"),
        definition("9001", "73211009", "Text."),
        concept("301"),
        member("Association", SAME_AS, "301", "73211009"),
    ]
    log = [
        (file, (row[0], time, rng.choice("011"), *row[3:]))
        for file, row in rows
        for time in rng.sample(["20180131", "20190131", "20200131", "20210131"], rng.randint(1, 4))
    ]
    rng.shuffle(log)
    full, snapshot = tmp_path / f"{seed}-{date}-full", tmp_path / f"{seed}-{date}-snapshot"
    written(full, rows=log, view="Full")
    written(snapshot, rows=_state(log, date))
    read, expected = frames(full, view="full", date=date), frames(snapshot)
    shutil.rmtree(full)
    shutil.rmtree(snapshot)
    assert read.concepts.sort("code").equals(expected.concepts.sort("code"))
    assert read.names.equals(expected.names)
    assert read.retired.sort("code").equals(expected.retired.sort("code"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["Concept_", "Description_", "Relationship_", "TextDefinition", "Language", "Association", "SimpleMap", "ExtendedMap"]),
    where=st.floats(0, 1),
    cut=st.integers(0, 30),
    noise=st.one_of(st.binary(max_size=8), st.sampled_from([b"\t", b"\n", b"\r\n", b"#", b'"', b"\x00", b"1E+17", b"\xff", b"9" * 20, b"\n\n"])),
)
def test_whatever_bytes_come_in_the_end_is_a_result_or_an_error_of_the_project(tmp_path: Path, kind: str, where: float, cut: int, noise: bytes) -> None:
    shutil.rmtree(tmp_path / "r", ignore_errors=True)
    extra = [
        definition("9001", "73211009", "Text."),
        member("Language", US, "4002", PREFERRED),
        concept("301", "0"),
        member("Association", SAME_AS, "301", "73211009"),
    ]
    path = file_of(written(tmp_path / "r", *extra, *TestMaps.RULES), kind)
    data = path.read_bytes()
    at = int(where * len(data))
    path.write_bytes(data[:at] + noise + data[at + cut :])
    with suppress(SyncabelError):
        frames(tmp_path / "r")
