"""Vocabularies as a table of three columns without a header: `code<TAB>name<TAB>P|S`, P for the preferred name."""

from collections.abc import Iterator
from pathlib import Path

from syncabel.corpora.corpus import text_lines
from syncabel.errors import FormatError
from syncabel.types import Concept, Name

__all__ = ["read_table"]

_PREFERRED = {"P": True, "S": False}


def read_table(path: str | Path, group: str, language: str = "en") -> Iterator[Concept]:
    """One concept per code, in order of first appearance; the rows of a code need not stand together.

    Args:
        path: UTF-8, plain or `.gz`.
        group: the semantic group of all concepts.
        language: ISO 639-1 code of all names.

    Raises:
        FormatError: a row without three columns, without a code, or with another flag; an empty file; bytes that are not UTF-8.
    """
    path = Path(path)
    names: dict[str, list[Name]] = {}
    for number, line in text_lines(path):
        code, text, preferred = _row(line, path, number)
        names.setdefault(code, []).append(Name(text, language, preferred=preferred))
    for code, of_code in names.items():
        yield Concept(code, tuple(of_code), (group,))


def _row(line: str, path: Path, number: int) -> tuple[str, str, bool]:
    columns = line.split("\t")
    if len(columns) != 3:
        raise FormatError(f"{len(columns)} tab-separated columns instead of 3", path, number, "write code<TAB>name<TAB>P or S")
    code, text, flag = columns
    if not code.strip():
        raise FormatError("the code is empty", path, number, "write code<TAB>name<TAB>P or S")
    if flag not in _PREFERRED:
        raise FormatError(f"the third column is {flag!r}", path, number, "write P for the preferred name, S for the others")
    return code.strip(), text, _PREFERRED[flag]
