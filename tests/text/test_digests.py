"""The digest of files, against the standard's example."""

from pathlib import Path

from syncabel.digests import file_sha256


def test_the_digest_is_that_of_the_standards_example(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4, example of SHA-256
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
