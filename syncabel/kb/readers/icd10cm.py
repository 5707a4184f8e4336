"""The tabular list of ICD-10-CM in XML (`icd10cm-tabular-2024.xml`), as the National Center for Health Statistics publishes it.

    ICD10CM.tabular > version, chapter > name, desc, section > desc, diag > name, desc, inclusionTerm/note, sevenChrDef/extension, diag …

Codes are the categories and what stands below them; chapters and blocks are no codes.  Seven-character codes are not listed in the
file: a category says which characters follow, and the rule is to fill a shorter code with the placeholder X up to six characters.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb.readers.xmlfile import events, texts, xml_stream
from syncabel.kb.vocabulary import About, Entry, Vocabulary
from syncabel.types import Concept, Name, Rejection

__all__ = ["DIAGNOSIS", "read_icd10cm", "seven_characters"]

DIAGNOSIS = "Diagnosis"
_ROOT = "ICD10CM.tabular"
_MEMBER = "*tabular*.xml"
_RANGE = re.compile(r"\s*\([A-Z]\w*-[A-Z]\w*\)\s*$")


@dataclass(slots=True)
class _Diag:
    """A `diag` element that is still open: what those inside it need of it."""

    code: str = ""
    extensions: dict[str, str] = field(default_factory=dict)
    leaf: bool = True


def read_icd10cm(path: str | Path, *, group: str | None = None, group_from: str | None = None, seventh_characters: bool = True) -> Vocabulary:
    """The codes of ICD-10-CM, children before their parents' ends: in the order their elements close.

    The description is the preferred name.  Inclusion terms are names of scope `narrow`: some are synonyms, others are cases that are filed
    there, and the file does not tell them apart.  Includes, excludes and coding notes are no names and not read.  Where a note says in words
    that some codes take fewer seventh characters (S06), the codes it excepts are made as well.

    Args:
        path: XML, plain, `.gz`, or a folder or archive in which one file is named like `*tabular*.xml`.
        group: the semantic group of all codes; "Diagnosis" where neither is given.
        group_from: "chapter": the chapter's title without its range of codes.
        seventh_characters: whether to make the seven-character codes, as children of the codes they extend.

    Raises:
        ConfigError: both `group` and `group_from`.
        FormatError: damaged XML, entity declarations, another root element, a code without name.
        UnknownNameError: a `group_from` nobody knows.
    """
    path = Path(path)
    if group is not None and group_from is not None:
        raise ConfigError("group and group_from exclude each other; give one")
    if group_from not in (None, "chapter"):
        raise UnknownNameError("source of groups", group_from or "", ("chapter",))
    fixed = None if group_from else DIAGNOSIS if group is None else group
    filters = (f"group_from={group_from}" if group_from else f"group={fixed}", f"seventh_characters={seventh_characters}")
    about = About("ICD-10-CM", _release(path), "US Government work, public domain", True, "from the National Center for Health Statistics, free", filters)
    return Vocabulary(about, _content(path, fixed, seventh_characters))


def seven_characters(code: str, character: str) -> str:
    """The code with a seventh character, filled with the placeholder X: `("S02.0", "A")` → `S02.0XXA`, `("O31", "1")` → `O31.XXX1`."""
    plain = code.replace(".", "").ljust(6, "X")
    return f"{plain[:3]}.{plain[3:]}{character}"


def _release(path: Path) -> str:
    with xml_stream(path, _MEMBER) as stream:
        for event, element in events(stream, path, _ROOT):
            if element.tag in ("chapter", "diag"):
                return ""
            if event == "end" and element.tag == "version":
                return (element.text or "").strip()
    return ""


def _content(path: Path, group: str | None, seventh_characters: bool) -> Iterator[Entry]:
    opened: list[_Diag] = []  # a stack: codes are nested as deep as the file likes
    chapter = ""
    with xml_stream(path, _MEMBER) as stream:
        for event, element in events(stream, path, _ROOT):
            if element.tag == "diag":
                if event == "start":
                    if opened:
                        opened[-1].leaf = False
                    opened.append(_Diag())
                else:
                    yield from _entries(element, opened, chapter if group is None else group, seventh_characters, path)
                    element.clear()
            elif event == "end" and opened:
                _note(element, opened[-1])
            elif event == "end" and element.tag == "desc" and not chapter:
                chapter = _RANGE.sub("", element.text or "")
            elif element.tag in ("chapter", "section") and event == "end":
                chapter = "" if element.tag == "chapter" else chapter
                element.clear()


def _note(element: ET.Element, diag: _Diag) -> None:
    """What elements inside must know is written before them: a code's name and its seventh characters."""
    if element.tag == "name" and not diag.code:
        diag.code = (element.text or "").strip()
    elif element.tag == "extension" and (character := element.get("char", "").strip()):
        diag.extensions[character] = " ".join((element.text or "").split())


def _entries(element: ET.Element, opened: list[_Diag], group: str, seventh_characters: bool, path: Path) -> Iterator[Entry]:
    diag, title = opened[-1], " ".join((element.findtext("desc") or "").split())
    extensions: Mapping[str, str] = next((above.extensions for above in reversed(opened) if above.extensions), {})
    opened.pop()
    if not diag.code or not title:
        raise FormatError(f"code {diag.code!r} has no {'name' if diag.code else 'code'} ({title!r})", path, hint="fetch it again")
    if not group:
        yield Rejection(f"{path}: {diag.code}", diag.code, "no_chapter", title)
        return
    names = [Name(title, preferred=True), *(Name(text, scope="narrow") for text in texts(element, "inclusionTerm/note"))]
    yield Concept(diag.code, tuple(names), (group,), parents=tuple(above.code for above in opened[-1:]))
    if seventh_characters and diag.leaf and len(diag.code.replace(".", "")) <= 6:
        for character, label in extensions.items():
            yield Concept(seven_characters(diag.code, character), (Name(f"{title}, {label}", preferred=True),), (group,), parents=(diag.code,))
