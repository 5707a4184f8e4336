from collections.abc import Callable
from types import ModuleType

import pytest
from evidence_documents import FIT, TEST

from syncabel.kb import KnowledgeBase


@pytest.fixture
def toy_set(script: Callable[[str], ModuleType], small_kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a set of a few sentences in which A:1 and A:3 have human documents."""
    sets = script("evidence_sets")
    monkeypatch.setitem(sets.SETS, "toy", lambda _places: sets.Bench("toy", small_kb, FIT, TEST, None, "a toy"))
    return "toy"
