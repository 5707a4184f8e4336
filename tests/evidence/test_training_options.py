"""What scripts/training_options.py counts as NIL, and how it writes a figure down."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from syncabel.sft import ExampleSettings
from syncabel.types import Document, Mention, Span


def mention(number: int, answers: Any) -> Mention:
    return Mention(str(number), (Span(number, number + 1),), "x", "Disease", answers)


@pytest.fixture
def bench(script: Callable[[str], ModuleType], small_kb: Any) -> Any:
    """Scored mentions: A:1 by its other id, A:3, both as alternatives, not in the vocabulary, nothing annotated, a code that the knowledge base lacks."""
    answers = ((("A:100",),), (("A:3",),), (("A:1",), ("A:3",)), (), None, (("A:999",),))
    document = Document("d", "x" * 8, tuple(mention(i, answer) for i, answer in enumerate(answers)))
    return script("evidence_sets").Bench("toy", small_kb, (), (document,), None, "a toy")


def holding_out(code: str, *but: str) -> ExampleSettings:
    """Settings of some seed that hold one concept out and others not."""
    asked = (ExampleSettings(nil=True, nil_hold_out=0.5, seed=seed) for seed in range(100))
    return next(settings for settings in asked if settings.holds_out(code) and not any(map(settings.holds_out, but)))


@pytest.mark.parametrize(
    ("taught", "expected"),
    [
        (ExampleSettings(nil=True), [False, False, False, True, None, None]),
        (holding_out("A:1", "A:3", "A:100"), [True, False, False, True, None, None]),
        (holding_out("A:3", "A:1"), [False, True, False, True, None, None]),
        (ExampleSettings(nil=True, nil_hold_out=1.0), [True, True, True, True, None, None]),
    ],
    ids=["annotated", "A:1 held out", "A:3 held out", "all held out"],
)
def test_nil_is_right_where_it_is_annotated_and_where_all_answers_are_held_out(
    taught: ExampleSettings, expected: list[bool | None], bench: Any, script: Callable[[str], ModuleType]
) -> None:
    assert script("training_options").gold_nil(bench, taught) == expected


def test_a_figure_without_a_denominator_is_none(script: Callable[[str], ModuleType]) -> None:
    options = script("training_options")
    assert options.row(["a", "a", "b"], [1.0, 0.0, 1.0])["value"] == 0.6667
    assert options.row([], []) is None
