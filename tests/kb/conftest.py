"""Damage of the kinds files suffer, for the property that a reader ends in a vocabulary or in our error."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def damaged() -> Callable[[str], st.SearchStrategy[bytes]]:
    """Any bytes, or a real file cut short, with a few bytes changed, or with lines left out, repeated and out of order."""

    def of(text: str) -> st.SearchStrategy[bytes]:
        content, lines = text.encode(), text.split("\n")
        places = st.integers(0, len(content))
        changed = st.builds(lambda at, new, length: content[:at] + new + content[at + length :], places, st.binary(max_size=4), st.integers(0, 4))
        shuffled = st.lists(st.sampled_from(lines), max_size=len(lines)).map(lambda kept: "\n".join(kept).encode())
        without = st.tuples(st.integers(0, len(lines)), st.integers(0, 3)).map(lambda cut: "\n".join([*lines[: cut[0]], *lines[cut[0] + cut[1] :]]).encode())
        return st.one_of(st.binary(max_size=60), places.map(lambda at: content[:at]), changed, shuffled, without)

    return of
