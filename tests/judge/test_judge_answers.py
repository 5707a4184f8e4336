"""Answers as models give them, and how they are kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncabel.errors import ConfigError, FormatError
from syncabel.judge import REASONS, RELATIONS, AnswerLog, Budget, JudgeSettings, Spent, StoredAnswer, Unparsable, answer_schema, parse_answer

GOOD = '{"reason": "same", "relation": "equivalent"}'


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        (GOOD, "equivalent"),
        (f"Here it is:\n```json\n{GOOD}\n```\nAnything else?", "equivalent"),
        ('{"relation": "Broader "}', "broader"),
        ('{"relation": "related", "confidence": 0.9, "reason": null}', "related"),
        ('{"reason": "a line\nend", "relation": "narrower"}', "narrower"),
        ('{oh} {"relation": "unrelated"} {"relation": "unrelated"}', "unrelated"),
        ('{"reason": "{"} {"relation": "unrelated"}', "unrelated"),
    ],
)
def test_a_relation_is_read_out_of_what_stands_around_it(text, relation):
    assert parse_answer(text) == relation


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("  \n", "stop", "empty"),
        ("Equivalent.", "stop", "structure"),
        ('{"reason": "it is', "length", "truncated"),
        ('{"relation": "identical"}', "stop", "relation"),
        ('{"relation": ["broader"]}', "stop", "relation"),
        ('{"relation": {"relation": "broader"}}', "stop", "relation"),
        ('{"relation": "broader"} or {"relation": "narrower"}', "stop", "ambiguous"),
        ("[" * 100_000, "stop", "structure"),
        ("{" * 100_000, "length", "truncated"),
    ],
)
def test_what_cannot_be_read_says_why(text, finish, reason):
    found = parse_answer(text, finish)
    assert isinstance(found, Unparsable)
    assert found == reason
    assert reason in REASONS


@given(st.text() | st.dictionaries(st.text(), st.text() | st.integers() | st.none()).map(json.dumps))
def test_reading_is_total(text):
    found = parse_answer(text)
    assert found in RELATIONS or (isinstance(found, Unparsable) and found in REASONS)


@given(st.sampled_from(RELATIONS), st.text())
def test_what_the_schema_asks_for_is_read(relation, reason):
    assert parse_answer(json.dumps({"reason": reason, "relation": relation})) == relation
    assert set(answer_schema()["properties"]["relation"]["enum"]) == set(RELATIONS)


def stored(key, text=GOOD):
    return StoredAnswer(key, "q", 0, False, 0, "model", "engine", 7, text, "stop", 100, 10)


def test_answers_outlive_a_torn_row_and_half_a_surrogate(tmp_path):
    path = tmp_path / "raw" / "answers.jsonl"
    with AnswerLog(path) as log:
        assert not path.exists()
        log.append(stored("a", "\ud800 l\u2028ine"))
        log.append(stored("b"))
    with path.open("ab") as file:
        file.write(path.read_bytes()[:50])
    with AnswerLog(path) as log:
        assert (log.get("a"), log.get("c")) == (stored("a", "\ud800 l\u2028ine"), None)
        assert log.spent == Spent(2, 200, 20)
        log.append(stored("c"))
    with AnswerLog(path) as log:
        assert log.get("b") == stored("b")
        assert log.spent == Spent(3, 300, 30)


def test_a_damaged_row_is_named_by_its_line_and_not_shown(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"key": "the patient wept"}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=r"answers\.jsonl:1: not a stored answer") as refused:
        AnswerLog(path)
    assert "wept" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong", [lambda: Budget(requests=-1), lambda: Budget(cost=1.0), lambda: JudgeSettings(votes=0), lambda: Budget(price_read=float("nan"))]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="give"):
        wrong()
