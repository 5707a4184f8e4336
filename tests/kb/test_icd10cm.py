"""The tabular list of ICD-10-CM, on hand-written codes of the published form."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError, SyncabelError, UnknownNameError
from syncabel.kb.readers.icd10cm import read_icd10cm, seven_characters
from syncabel.types import Concept, Name

XML = """<?xml version="1.0" encoding="utf-8"?>
<ICD10CM.tabular xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="icd10cm-tabular.xsd">
<version>2024</version>
<title>ICD-10-CM TABULAR LIST of DISEASES and INJURIES</title>
<introduction><introSection type="title"><title>Tabular</title></introSection></introduction>
<chapter>
 <name>1</name>
 <desc>Certain infectious and parasitic diseases (A00-B99)</desc>
 <includes><note>diseases generally recognized as communicable</note></includes>
 <sectionIndex><sectionRef first="A00" last="A09" id="A00-A09">Intestinal infectious diseases</sectionRef></sectionIndex>
 <section id="A00-A09">
  <desc>Intestinal infectious diseases (A00-A09)</desc>
  <diag><name>A00</name><desc>Cholera</desc>
   <diag><name>A00.0</name><desc>Cholera due to Vibrio cholerae 01, biovar cholerae</desc><inclusionTerm><note>Classical cholera</note></inclusionTerm>
    <excludes1><note>not this</note></excludes1></diag>
  </diag>
 </section>
</chapter>
<chapter>
 <name>19</name>
 <desc>Injury, poisoning and certain other consequences of external causes (S00-T88)</desc>
 <section id="S00-S09"><desc>Injuries to the head (S00-S09)</desc>
  <diag><name>S02</name><desc>Fracture of skull and facial bones</desc>
   <sevenChrNote><note>The appropriate 7th character is to be added</note></sevenChrNote>
   <sevenChrDef><extension char="A">initial encounter for closed fracture</extension><extension char="S">sequela</extension></sevenChrDef>
   <diag><name>S02.0</name><desc>Fracture of vault of skull</desc></diag>
   <diag><name>S02.1</name><desc>Fracture of base of skull</desc>
    <sevenChrDef><extension char="B">open</extension></sevenChrDef>
    <diag><name>S02.101</name><desc>Fracture of base of skull, right side</desc></diag></diag>
  </diag>
 </section>
</chapter>
</ICD10CM.tabular>
"""


def written(folder: Path, text: str | bytes, name: str = "icd10cm-tabular-2024.xml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def one(code: str, name: str, *narrow: str, parents: tuple[str, ...] = (), group: str = "Diagnosis") -> Concept:
    return Concept(code, (Name(name, preferred=True), *(Name(text, scope="narrow") for text in narrow)), (group,), parents=parents)


def test_every_code_comes_with_its_parent_and_the_codes_of_seven_characters(tmp_path: Path) -> None:
    vocabulary = read_icd10cm(written(tmp_path, XML))
    assert (vocabulary.about.source, vocabulary.about.release, vocabulary.about.redistributable) == ("ICD-10-CM", "2024", True)
    assert list(vocabulary.content) == [
        one("A00.0", "Cholera due to Vibrio cholerae 01, biovar cholerae", "Classical cholera", parents=("A00",)),
        one("A00", "Cholera"),
        one("S02.0", "Fracture of vault of skull", parents=("S02",)),
        one("S02.0XXA", "Fracture of vault of skull, initial encounter for closed fracture", parents=("S02.0",)),
        one("S02.0XXS", "Fracture of vault of skull, sequela", parents=("S02.0",)),
        one("S02.101", "Fracture of base of skull, right side", parents=("S02.1",)),
        one("S02.101B", "Fracture of base of skull, right side, open", parents=("S02.101",)),
        one("S02.1", "Fracture of base of skull", parents=("S02",)),
        one("S02", "Fracture of skull and facial bones"),
    ]


@pytest.mark.parametrize(
    ("code", "character", "full"), [("S02.0", "A", "S02.0XXA"), ("O31", "1", "O31.XXX1"), ("S02.101", "B", "S02.101B"), ("T36.0X1", "D", "T36.0X1D")]
)
def test_shorter_codes_are_filled_with_the_placeholder(code: str, character: str, full: str) -> None:
    assert seven_characters(code, character) == full


def test_groups_are_chapters_where_asked_and_extensions_stay_out_where_asked(tmp_path: Path) -> None:
    entries = list(read_icd10cm(written(tmp_path, XML), group_from="chapter", seventh_characters=False).content)
    groups = {entry.code: entry.groups[0] for entry in entries if isinstance(entry, Concept)}
    assert groups["A00.0"] == "Certain infectious and parasitic diseases"
    assert groups["S02.101"] == "Injury, poisoning and certain other consequences of external causes"
    assert len(groups) == 6


def test_the_tabular_list_is_found_in_the_release_zip(tmp_path: Path) -> None:
    path = tmp_path / "release.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Table and Index/icd10cm-tabular-2024.xml", XML)
        archive.writestr("Table and Index/icd10cm-index-2024.xml", "<ICD10CM.index/>")
    assert len(list(read_icd10cm(path).content)) == 9
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("older/icd10cm-tabular-2023.xml", XML)
    with pytest.raises(FormatError, match="2 files named like"):
        read_icd10cm(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (XML[:-30], "damaged XML"),
        ("<ICD10CM.index/>", "root element"),
        ("", "empty"),
        (XML.replace("<desc>Cholera</desc>", ""), "'A00' has no name"),
        (XML.replace("<name>A00</name>", ""), "has no code"),
        (XML.replace("<ICD10CM", '<!DOCTYPE a [<!ENTITY b "c">]><ICD10CM', 1), "entity 'b'"),
    ],
)
def test_a_damaged_list_is_named(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says):
        list(read_icd10cm(written(tmp_path, text)).content)


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        read_icd10cm(written(tmp_path, XML), group="G", group_from="chapter")
    with pytest.raises(UnknownNameError, match="'chapter'"):
        read_icd10cm(written(tmp_path, XML), group_from="chapters")


@pytest.mark.parametrize("tag", ["diag", "note"])
def test_nesting_is_no_recursion_and_too_deep_nesting_is_an_error(tag: str, tmp_path: Path) -> None:
    def nested(times: int) -> list[object]:
        inner = "".join(f"<{tag}><name>A{i}</name><desc>d</desc>" for i in range(times)) + f"</{tag}>" * times
        text = f"<ICD10CM.tabular><chapter><desc>c</desc><section><diag><name>A</name><desc>d</desc>{inner}</diag></section></chapter></ICD10CM.tabular>"
        return list(read_icd10cm(written(tmp_path, text)).content)

    assert len(nested(900)) == (901 if tag == "diag" else 1)
    with pytest.raises(FormatError, match="nested more than 1000 deep"):
        nested(20_000)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_bytes_end_in_a_vocabulary_or_in_our_error(damaged: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("bytes"), data.draw(damaged(XML)))
    said = ""
    try:
        list(read_icd10cm(path).content)
    except SyncabelError as error:
        said = str(error)
    assert "\n" not in said
