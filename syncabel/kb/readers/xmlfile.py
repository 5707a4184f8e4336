"""XML vocabularies as streams: what is safe to parse, and damage named with its line.

Documents are parsed by expat, which never fetches a DTD.  What a document may declare itself is checked before parsing:
entities that expand to more entities have no place in a vocabulary.
"""

import gzip
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from xml.parsers import expat

from syncabel.archive import is_archive, opened
from syncabel.errors import FormatError
from syncabel.lines import TagsWithin

__all__ = ["check_prolog", "child_text", "events", "texts", "xml_stream"]

_AGAIN = "fetch it again"
_DEEPEST = 1000  # elements in elements; vocabularies nest ten or so
_LONGEST_ENTITY = 300  # code points; Protégé declares one short entity a namespace
_DAMAGED_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


@contextmanager
def xml_stream(path: Path, pattern: str = "*.xml") -> Iterator[BinaryIO]:
    """The bytes of one XML file: plain, `.gz`, or the one member of a folder or archive whose name matches.

    Args:
        path: what the user gave.
        pattern: of the member's file name in lower case, with `*`.

    Raises:
        FormatError: a damaged archive, no such member, or several.
        OSError: there is no such file.
    """
    if path.is_dir() or is_archive(path):
        with opened(path, lambda name: _matches(name, pattern)) as folder, _only(folder, pattern, path).open("rb") as stream:
            yield stream
    elif path.suffix == ".gz":
        with gzip.open(path, "rb") as packed:
            yield cast(BinaryIO, packed)
    else:
        with path.open("rb") as stream:
            yield stream


def _matches(name: str, pattern: str) -> bool:
    file = PurePosixPath(name).name.lower()
    return fnmatch(file, pattern) and not file.startswith(".")


def _only(folder: Path, pattern: str, path: Path) -> Path:
    found = sorted(file for file in folder.rglob("*") if file.is_file() and _matches(file.name, pattern))
    if len(found) != 1:
        listed = f": {', '.join(repr(file.name) for file in found[:3])}" if found else ""
        raise FormatError(f"{len(found)} files named like {pattern} in it{listed}", path, hint="give the one file")
    return found[0]


def check_prolog(stream: BinaryIO, path: Path, *, short_entities: bool = False) -> str:
    """The name of the root element; the stream is back at its start afterwards.

    Args:
        stream: seekable bytes.
        path: what messages call it.
        short_entities: whether the document may declare short entities of plain text, as OWL editors do for namespaces.

    Raises:
        FormatError: an empty file, damaged XML before the root, an encoding nobody knows, or an entity that is refused.
    """

    def refuse(name: str, parameter: bool, value: str | None, *_: object) -> None:
        if not (short_entities and not parameter and value is not None and len(value) <= _LONGEST_ENTITY and not {"&", "%"} & set(value)):
            raise FormatError(f"the document declares entity {name!r}", path, parser.CurrentLineNumber, "give a file without entities")

    roots: list[str] = []
    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda name, _: roots.append(name)
    with _named_damage(path):
        chunk = stream.read(1 << 16)
        if not chunk:
            raise FormatError("the file is empty", path, hint="fetch or write it again")
        bounded = TagsWithin(stream, path)
        while chunk and not roots:
            parser.Parse(chunk, False)
            chunk = bounded.read(1 << 16)
        if not roots:
            parser.Parse(b"", True)  # raises: no element found
        stream.seek(0)
    return roots[0]


def events(stream: BinaryIO, path: Path, root: str, *, short_entities: bool = False) -> Iterator[tuple[str, ET.Element]]:
    """`("start" | "end", element)` in document order; who reads on must clear what it has read.

    Raises:
        FormatError: another root element than `root`, damaged XML, entity declarations (see `check_prolog`), or elements nested more than
            a thousand deep.
    """
    found = check_prolog(stream, path, short_entities=short_entities)
    if found != root:
        raise FormatError(f"the root element is <{found}>, not <{root}>", path, hint="is this another file of the release, or another format?")
    depth = 0
    with _named_damage(path):
        for event, element in ET.iterparse(TagsWithin(stream, path), ("start", "end")):
            depth += 1 if event == "start" else -1
            if depth > _DEEPEST:
                raise FormatError(f"elements are nested more than {_DEEPEST} deep", path, hint=_AGAIN)
            yield event, element


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (ET.ParseError, expat.ExpatError) as error:
        line = error.position[0] if isinstance(error, ET.ParseError) else error.lineno
        raise FormatError(f"damaged XML ({str(error).partition(':')[0]})", path, line, _AGAIN) from None
    except _DAMAGED_GZIP:
        raise FormatError("damaged gzip data", path, hint=_AGAIN) from None
    except (LookupError, ValueError) as error:  # expat on an encoding that Python has not, or that is no single-byte one
        raise FormatError(f"the encoding cannot be read ({error})".replace("\n", " "), path, 1, "convert the file to UTF-8") from None


def child_text(element: ET.Element, path: str) -> str:
    """The stripped text of the first descendant at `path`; "" where there is none."""
    return (element.findtext(path) or "").strip()


def texts(element: ET.Element, path: str) -> list[str]:
    """The stripped texts of all descendants at `path`, without empty ones, in document order."""
    return [text for found in element.iterfind(path) if (text := " ".join("".join(found.itertext()).split()))]
