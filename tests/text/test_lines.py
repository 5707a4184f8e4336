"""Lines and tags that never end."""

from pathlib import Path

import pytest

from syncabel import lines
from syncabel.corpora.bioc import read_bioc
from syncabel.errors import FormatError
from syncabel.kb import read_mesh, read_owl
from syncabel.lines import text_lines


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1000)
    (tmp_path / "x").write_bytes(b"a\n" + b"b" * 999 + b"\n" + b"c" * 1001)
    read = text_lines(tmp_path / "x")
    assert [len(next(read)[1]) for _ in range(2)] == [1, 999]
    with pytest.raises(FormatError, match=r"x:3: the line is longer than"):
        next(read)


@pytest.mark.parametrize("start", [b"", b"<collection><document><id>", b'<collection date="', b"<rdf:RDF ", b"<DescriptorRecordSet><a>"])
def test_a_tag_that_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(lines, "LONGEST_TOKEN", 1 << 17)
    (tmp_path / "desc2024.xml").write_bytes(start + b"a" * (1 << 19))
    for read in (read_bioc, read_mesh):
        with pytest.raises(FormatError):
            list(getattr(read(tmp_path / "desc2024.xml"), "content", ()))
    with pytest.raises(FormatError):
        read_owl(tmp_path / "desc2024.xml", group="G")


def test_an_attribute_that_does_not_end_is_refused_before_pronto_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_TOKEN", 1 << 17)
    opening = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><a b="'
    (tmp_path / "x.owl").write_bytes(opening + b"a" * (1 << 21))
    with pytest.raises(FormatError, match="no tag ends"):
        read_owl(tmp_path / "x.owl", group="G")
