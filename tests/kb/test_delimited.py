from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncabel.errors import FormatError
from syncabel.kb.readers import delimited
from syncabel.kb.readers.delimited import LINE, check_rows, collected, scan

ABC = ("a", "b", "c")


def write(folder: Path, content: bytes) -> Path:
    path = folder / "rows.txt"
    path.write_bytes(content)
    return path


def rows(path: Path, **options: bool) -> list[tuple[int | str, ...]]:
    return collected(check_rows(path, ABC, "|", **options).scan(lines=True), path).rows()


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"1|2|3\n4|5|6\n", {}, [(1, "1", "2", "3"), (2, "4", "5", "6")]),
        (b"1|2|3|\n4|5|6|", {"trailing": True}, [(1, "1", "2", "3"), (2, "4", "5", "6")]),
        (b"\xef\xbb\xbf1|2|3\r\n4||6\r\n", {}, [(1, "1", "2", "3"), (2, "4", "", "6")]),
        (b"\xef\xbb\xbf1|2|3|\r\n|||\r\n", {"trailing": True}, [(1, "1", "2", "3"), (2, "", "", "")]),
        (b"\xef\xbb\xbfa|b|c\r\n1|2|3\r\n4|5|6", {"header": True}, [(2, "1", "2", "3"), (3, "4", "5", "6")]),
        (b"a|b|c\n", {"header": True}, []),
        (b'"|1|2\n3|"|"\n', {}, [(1, '"', "1", "2"), (2, "3", '"', '"')]),
        (b"x^|2|3\n4|5|6\n", {}, [(1, "x^", "2", "3"), (2, "4", "5", "6")]),
        ("x\u0680|2|3\n".encode(), {}, [(1, "x\u0680", "2", "3")]),
        (b"000123456789012345|1e5|NULL\n", {}, [(1, "000123456789012345", "1e5", "NULL")]),
    ],
)
def test_rows_are_read_as_written(content: bytes, options: dict[str, bool], expected: list[tuple[object, ...]], tmp_path: Path) -> None:
    assert rows(write(tmp_path, content), **options) == expected


def test_blank_and_comment_lines_are_listed_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfa|b|c\r\n#x\r\n1|2|3\r\n\r\n4|5|6\n#7|8|9\n  \n7|8|9\n")
    checked = check_rows(path, ABC, "|", header=True, comments=True)
    assert (checked.skipped, checked.rows) == ((2, 4, 6, 7), 3)
    assert collected(checked.scan(lines=True), path)[LINE].to_list() == [3, 5, 8]
    assert collected(checked.scan().select("c"), path)["c"].to_list() == ["3", "6", "9"]


@pytest.mark.parametrize(
    ("content", "options", "line", "problem"),
    [
        (b"1|2|3\n4|5\n", {}, 2, "2 columns where 3 are expected"),
        (b"1|2|3|\n4|5|6|7|\n", {"trailing": True}, 2, "4 columns where 3 are expected"),
        (b"1|2|3|\n4|5|6\n", {"trailing": True}, 2, "does not end with"),
        (b"1|2|3|\n4|5|6|7\n", {"trailing": True}, 2, "4 columns where 3 are expected"),
        (b"1|2|3\n\n4|5|6\n", {}, 2, "0 columns where 3 are expected"),
        (b"1|2|3\n#4|5|6\n\n", {}, 3, "0 columns where 3 are expected"),
        (b"a|c|b\n1|2|3\n", {"header": True}, 1, "column 2 of the header is not 'b'"),
        (b"a|b\n1|2\n", {"header": True}, 1, "the header has 2 columns"),
        (b"1|2|3\n1|\xe9|3\n", {}, 2, "0xe9 is not UTF-8"),
        (b"1|2|3\n1|2|\xc3", {}, 2, "not UTF-8"),
        (b"", {}, None, "empty"),
        (b"\n", {"comments": True}, None, "empty"),
    ],
)
def test_a_broken_file_names_its_line(content: bytes, options: dict[str, bool], line: int | None, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=problem) as caught:
        check_rows(write(tmp_path, content), ABC, "|", **options)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_a_line_longer_than_any_release_has_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONGEST", 1000)
    monkeypatch.setattr(delimited, "BLOCK", 300)
    for end in (b"", b"\n4|5|6\n"):
        with pytest.raises(FormatError, match="longer than 1000 bytes") as caught:
            check_rows(write(tmp_path, b"1|2|3\n1|2|" + b"x" * 999 + end), ABC, "|")
        assert caught.value.line == 2


def test_lines_are_whole_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(n, str(n), "é" * (n % 7), "x") for n in range(1, 500)]
    path = write(tmp_path, "".join(f"{a}|{b}|{c}\r\n" for _, a, b, c in expected).encode())
    for block in (1, 7, 64):
        monkeypatch.setattr(delimited, "BLOCK", block)
        assert rows(path) == expected
    assert scan(path, ABC, "|").select("b").collect()["b"].to_list() == [b for _, _, b, _ in expected]


FIELD = st.text(st.characters(exclude_characters="|\n\r", exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8), st.booleans())
def test_any_text_without_separators_comes_back(tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], trailing: bool) -> None:
    table = [("x" + a, b, c + "x") for a, b, c in table]
    path = write(tmp_path_factory.mktemp("any"), "".join("|".join(row) + "|" * trailing + "\n" for row in table).encode())
    assert rows(path, trailing=trailing) == [(n, *row) for n, row in enumerate(table, 1)]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text('ab|c#\r\n \ufeff\0"é', max_size=60).map(str.encode)), st.booleans(), st.booleans(), st.booleans())
def test_any_bytes_end_in_rows_or_in_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, header: bool, trailing: bool, comments: bool
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz"), content)
    try:
        checked = check_rows(path, ABC, "|", header=header, trailing=trailing, comments=comments)
    except FormatError:
        return
    found = collected(checked.scan(lines=True), path)
    lines = content.decode().removeprefix("\ufeff").split("\n")
    assert len(found) == checked.rows
    for number, *cells in found.rows():
        assert ("|".join(cells) + "|" * trailing).replace("\r", "") == lines[number - 1].replace("\r", "")
