"""Reading what a model answered: pure, total; an answer that cannot be read has one of `REASONS`."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from syncabel.errors import MissingExtraError
from syncabel.judge.labels import RELATIONS, Relation

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["REASONS", "Unparsable", "answer_schema", "parse_answer"]

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "empty": "nothing was answered",
        "truncated": "the answer ends, at the most tokens allowed, before its JSON does",
        "structure": "the answer holds no JSON object",
        "relation": "its JSON states no relation, or none of the five",
        "ambiguous": "it states several relations",
        "no_answer": "the engine gave no answer",
        "unknown_concept": "gold or the prediction is not in the knowledge base",
    }
)
_LONGEST = 20_000  # code points looked at
_MOST_STARTS = 50  # braces tried


class Unparsable(str):
    """Why an answer cannot be read: a key of `REASONS`."""

    __slots__ = ()


def answer_schema() -> dict[str, Any]:
    """The JSON schema of an answer, for engines that hold a model to it; the reason comes first, so that it is thought of first."""
    texts = {"reason": {"type": "string"}, "relation": {"type": "string", "enum": sorted(RELATIONS)}}
    return {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}


def parse_answer(text: str, finish: str = "") -> Relation | Unparsable:
    """The relation that an answer states, of B to A as it was asked; fences and words around its JSON are passed over.

    Args:
        text: the raw answer.
        finish: why it ended; `length` where it was cut off.

    Raises:
        MissingExtraError: pydantic is not installed.
    """
    if not text.strip():
        return Unparsable("empty")
    found = list(_objects(text[:_LONGEST]))
    if not found:
        return Unparsable("truncated" if finish == "length" else "structure")
    stated = {relation for value in found if (relation := _relation(value)) is not None}
    if len(stated) == 1:
        return stated.pop()
    return Unparsable("ambiguous" if stated else "relation")


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a text that stand in no other one."""
    decoder, at = json.JSONDecoder(strict=False), 0  # models write line ends into strings
    for _ in range(_MOST_STARTS):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        yield value


def _relation(value: Mapping[str, Any]) -> Relation | None:
    form = _form()
    from pydantic import ValidationError

    try:
        return cast(Relation, form.model_validate(value).model_dump()["relation"])
    except ValidationError:
        return None


@cache
def _form() -> "type[BaseModel]":
    try:
        from pydantic import BaseModel, ConfigDict, field_validator
    except ImportError as error:
        raise MissingExtraError("generate", str(error.name)) from None

    class Answer(BaseModel):
        model_config = ConfigDict(extra="ignore")
        relation: Relation

        @field_validator("relation", mode="before")
        @classmethod
        def _as_written(cls, given: object) -> object:
            return given.strip().lower() if isinstance(given, str) else given

    return Answer
