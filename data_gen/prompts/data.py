"""Texts from files as data inside a prompt: cleaned, capped, encoded so that no tokenizer finds a control token in them.

A chat is held together by tokens like `<|eot_id|>`, `[INST]` or `</s>`, which tokenizers also find in plain text.  In a JSON string
`<` may be written `\\u003c`: the same string to whoever reads JSON, and nothing special to a tokenizer.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from data_gen.writer import Shot
from syncabel.text import clean_name, escape_markup
from syncabel.types import Span

__all__ = ["capped", "cleaned", "encoded", "encoded_sentence", "encoded_shot", "unmistakable"]

_ASCII_PRINTABLE = re.compile(r"[ -~]*")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# An opening bracket stays where at most one letter or digit follows before something else: "benz[a]anthracene", "[2,3-b]", not "[INST]".
_RISKY = re.compile(r"[<>]|\[(?![A-Za-z0-9](?![A-Za-z_]))|[^\x00-\x7f]")
# Bracketed pieces that some tokenizer takes for a control token: "[INST]", "[CLS]", "[gMASK]", "[sop]", "[unused0]", "[@BOS@]", "[|user|]".
_LIKE_TOKEN = re.compile(r"[|@_/]|[A-Z]{2}|^\w{1,4}$|unused")
_OPEN, _CLOSE = "\ue000", "\ue001"  # private use, which `cleaned` removes: they can only be ours


def cleaned(text: str) -> str:
    """A text on one line, white space single, without control and formatting characters (bidirectional, zero width, tags), surrogates and private use."""
    plain = clean_name(text)
    if _ASCII_PRINTABLE.fullmatch(plain):
        return plain
    return clean_name("".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")))


def capped(text: str, most: int) -> str:
    """A cleaned text of at most `most` code points, cut at a space where there is one near; "…" stands for the rest."""
    plain = cleaned(text)
    if len(plain) <= most:
        return plain
    head = plain[: most - 1]
    at = head.rfind(" ", most * 3 // 4)
    return (head[:at] if at > 0 else head).rstrip() + "…"


def unmistakable(text: str) -> str:
    """A cleaned text as it may stand outside JSON: what could begin or end a control token has a space behind it."""
    return clean_name(_RISKY.sub(_apart, cleaned(text)))


def _apart(match: re.Match[str]) -> str:
    c = match.group()
    return f"{c} " if c.isascii() or _hides_token(c) else c


def encoded(value: Any) -> str:
    """JSON on one line; what could begin or end a control token in a string is written as an escape."""
    return _JSON_STRING.sub(_without_tokens, json.dumps(value, ensure_ascii=False))


def _without_tokens(string: re.Match[str]) -> str:
    return _RISKY.sub(_escape, string.group())


def _escape(match: re.Match[str]) -> str:
    c = match.group()
    if c.isascii():
        return f"\\u{ord(c):04x}"
    return json.dumps(c)[1:-1] if _hides_token(c) else c


@cache
def _hides_token(c: str) -> bool:
    """Whether a tokenizer that normalises could read an angle or square bracket out of it: the full-width forms, "≮"."""
    return bool(set("<>[]") & set(unicodedata.normalize("NFKD", c)))


def encoded_shot(shot: Shot, most: int = 400) -> str:
    """A style example as the answers are to be: the mention in brackets, and apart.

    Brackets and braces of the text itself become parentheses, as in training prompts.

    Args:
        shot: from a corpus.
        most: code points kept on either side of the mention.
    """
    text = escape_markup(shot.text)
    mention = cleaned(text[shot.mention.start : shot.mention.end])
    before, after = _inner(text[: shot.mention.start][-most:]), _inner(text[shot.mention.end :][:most])
    row = encoded({"mention": mention, "sentence": f"{before}{_OPEN}{mention}{_CLOSE}{after}"})
    return _with_brackets(row, [mention])


def encoded_sentence(text: str, spans: Sequence[Span]) -> str:
    """A sentence as a JSON string, with its spans in brackets and no other ones: its own become parentheses.

    Args:
        text: the sentence.
        spans: half-open code points, in text order, none overlapping another.
    """
    text, at = escape_markup(text), 0
    pieces: list[str] = []
    marked = [cleaned(text[span.start : span.end]) for span in spans]
    for span, mention in zip(spans, marked, strict=True):
        pieces.append(f"{_inner(text[at : span.start])}{_OPEN}{mention}{_CLOSE}")
        at = span.end
    return _with_brackets(encoded("".join((*pieces, _inner(text[at:])))), marked)


def _with_brackets(row: str, mentions: Sequence[str]) -> str:
    """What was encoded, with real brackets; an opening one is escaped where a mention in brackets looks like a control token."""
    return row.replace(_OPEN, "\\u005b" if any(map(_LIKE_TOKEN.search, mentions)) else "[").replace(_CLOSE, "]")


def _inner(text: str) -> str:
    """`cleaned`, but white space at the ends stays, as one space."""
    return cleaned(f"|{text}|")[1:-1]
