"""Reading what a language model answered: pure, total, nothing dropped.

An answer should be `{"sentences": [{"mention": …, "sentence": "… [mention] …"}, …]}`.  Also read are a bare list, several objects, fenced
blocks, chatter around, JSON that was cut off (its complete items count) and marked lines (`example: … [mention] …`).  Every piece that
looks like an item becomes a sentence with its mention's offsets, or a refusal with one of `REASONS`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from syncabel.text import clean_name, fold, stop_ends_sentence
from syncabel.types import Span

__all__ = ["REASONS", "Marked", "Refused", "answer_schema", "parse_answer", "parse_sentence"]

REASONS: dict[str, str] = {
    "empty": "nothing was answered",
    "structure": "neither the JSON asked for nor marked lines, or an item without a sentence",
    "truncated": "the answer ends inside this item, or goes on after 50,000 code points",
    "empty_mention": "the mention has no letter and no digit",
    "no_mention": "no mention is marked, or it is not in the sentence",
    "ambiguous_mention": "nothing tells which of several pieces is the mention",
    "mention_mismatch": "the piece in brackets is another than the mention stated",
}

_SENTENCES = ("sentences", "phrases", "oraciones", "frases", "examples", "exemples", "ejemplos")
_SENTENCE = ("sentence", "phrase", "oración", "oracion", "frase", "text", "texte", "texto", "example", "exemple", "ejemplo")
_MENTION = ("mention", "mención", "mencion")
_LONGEST = 50_000  # code points looked at, some twenty times the longest answer asked for; what lies behind is refused as one piece
_MOST_FAILURES = 300  # places where no JSON can be decoded; with more of them an answer is nonsense, and looking on costs seconds
_SHOWN = 500  # code points of a refused piece
_DEEPEST = 4  # levels looked through for the list

_START = re.compile(r"\{|\[(?=\s*[{\"])")
_LIKE_ITEM = re.compile(rf'"(?:{"|".join((*_SENTENCE, *_MENTION))})"\s*:', re.IGNORECASE)
# Repeats are bounded or of one line, so that no answer makes the search slow.
_KEY_OF_LIST = re.compile(rf'"(?:{"|".join(_SENTENCES)})"\s*:\s*$', re.IGNORECASE)
_MARKED_LINE = re.compile(r"^[ \t>*#\-–•\d.)(]*(?:example|exemple|ejemplo)[ \t]?\d{0,3}\**\s?[:\uff1a](.+)", re.IGNORECASE | re.MULTILINE)
_STOP = re.compile(r"[.!?](?=\s|$)")
_QUOTES = {'"': '"', "“": "”", "«": "»", "'": "'", "‘": "’"}
_DECODER = json.JSONDecoder(strict=False)  # models write line ends into strings


class Marked(NamedTuple):
    """A sentence with its mention.

    Attributes:
        text: without the brackets that marked something, white space single.
        mention: of the concept asked about; half-open code points of `text`.
        others: where other concepts given by name stand, with their codes, in text order; none overlaps another or the mention.
    """

    text: str
    mention: Span
    others: tuple[tuple[Span, str], ...] = ()


class Refused(NamedTuple):
    """A piece of an answer that is no sentence with a mention: one of `REASONS`, and the piece, cut to 500 code points."""

    reason: str
    text: str


def answer_schema(sentences: int) -> dict[str, Any]:
    """The JSON schema of an answer with that many sentences, for guided decoding (JSON Schema 2020-12)."""
    texts = {"type": "object", "properties": {"mention": {"type": "string"}, "sentence": {"type": "string"}}}
    item = {**texts, "required": ["mention", "sentence"], "additionalProperties": False}
    items = {"type": "array", "items": item, "minItems": sentences, "maxItems": sentences}
    return {"type": "object", "properties": {"sentences": items}, "required": ["sentences"], "additionalProperties": False}


def parse_answer(text: str, others: Mapping[str, str] | None = None) -> list[Marked | Refused]:
    """What an answer holds, in its order; at least one item, whatever the text is.

    Args:
        text: the raw answer.
        others: names of other concepts that the sentences were to have, with their codes; marked where they stand verbatim.
    """
    if not text.strip():
        return [Refused("empty", "")]
    head, rest = _without_surrogates(text[:_LONGEST]), text[_LONGEST:]
    found: list[_Item | Refused] = list(_json_items(head)) or [_Item("", line) for line in _lines(head)]
    items = [item if isinstance(item, Refused) else _placed(item, others or {}) for item in found]
    if rest.strip() and items:
        items.append(Refused("truncated", _without_surrogates(rest[:_SHOWN])))
    return items or [Refused("structure", head[:_SHOWN])]


def parse_sentence(text: str, mention: str, finished: bool = True) -> Marked | Refused:
    """The sentence of an answer that is nothing but a sentence: its first line, or several sentences on it.

    Args:
        text: the raw answer.
        mention: to be in it, in brackets, or as it is, or in other case unless it is one word in capitals ("ALL" is not "all"); of several
            places the first counts, for all name the one concept.
        finished: False where the answer was cut off: what stands behind its last whole sentence is left out then.
    """
    lines = [plain for line in _without_surrogates(text[:_LONGEST]).splitlines() if (plain := clean_name(line))]
    if not lines:
        return Refused("empty", "")
    line = lines[0] if finished or len(lines) > 1 else _whole_sentences(lines[0])
    if not line:
        return Refused("truncated", lines[0][:_SHOWN])
    if not any(c.isalnum() for c in mention):
        return Refused("empty_mention", line[:_SHOWN])
    if piece := _stated(line, mention):
        stripped, spans = _stripped(line, [piece])
        return Marked(stripped, spans[piece])
    acronym = mention.isupper() and " " not in mention
    places = _bare(line, mention, re.NOFLAG) or ([] if acronym else _bare(line, mention, re.IGNORECASE))
    return Marked(line, Span(places[0].start, places[0].end)) if places else Refused("no_mention", line[:_SHOWN])


def _whole_sentences(line: str) -> str:
    """A line that was cut off, up to the last stop that ends a sentence; a stop behind a digit at its very end may be a decimal point."""
    for match in reversed(list(_STOP.finditer(line))):
        before, after = line[: match.start()], line[match.end() :].lstrip()
        if match.group() != "." or (stop_ends_sentence(before, after) and not (before[-1:].isdigit() and not after)):
            return line[: match.end()]
    return ""


class _Item(NamedTuple):
    mention: str
    sentence: str


def _without_surrogates(text: str) -> str:
    """Half a surrogate pair, which an escape can bring and no file can hold, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json_items(text: str) -> Iterator[_Item | Refused]:
    """The items of every piece of JSON in a text; what begins like an item and cannot be decoded is refused."""
    at = failures = 0
    while failures < _MOST_FAILURES and (start := _START.search(text, at)):
        try:
            value, at = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at, failures = start.end(), failures + 1
            yield from _broken(text, start.start(), at)
        else:
            yield from _items_in(value, listed=_may_list(text[max(0, start.start() - 40) : start.start()]))
    if failures == _MOST_FAILURES and text[at:].strip():
        yield Refused("structure", text[at:][:_SHOWN])


def _broken(text: str, start: int, after: int) -> Iterator[Refused]:
    """The refusal of JSON that cannot be decoded, up to where the next piece may begin; an outer list or object is none by itself."""
    following = _START.search(text, after)
    piece = text[start : following.start() if following else len(text)]
    if _LIKE_ITEM.search(piece):
        yield Refused("structure" if following or "}" in piece else "truncated", piece[:_SHOWN])


def _may_list(before: str) -> bool:
    """Whether a list that follows may be that of the sentences: it is no value of a key, as in a request echoed and cut off, or of the right one."""
    return not before.rstrip().endswith(":") or _KEY_OF_LIST.search(before) is not None


def _items_in(value: Any, listed: bool, depth: int = 0) -> Iterator[_Item | Refused]:
    """The items of a value; where it is the list of the sentences, every element is one, else those objects that look like one."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for element in value:
            yield from [_item(element)] if listed else _items_in(element, False, depth + 1)
    elif isinstance(value, dict):
        sentences = _first(value, _SENTENCES)
        if isinstance(sentences, list):
            yield from _items_in(sentences, True, depth + 1)
        elif isinstance(_first(value, (*_SENTENCE, *_MENTION)), str):
            yield _item(value)
        else:
            for inner in value.values():
                yield from _items_in(inner, False, depth + 1)


def _item(element: Any) -> _Item | Refused:
    if isinstance(element, str):
        return _Item("", _without_surrogates(element))
    if isinstance(element, dict):
        mention, sentence = _first(element, _MENTION), _first(element, _SENTENCE)
        if isinstance(sentence, str) and sentence.strip() and isinstance(mention, str | None):
            return _Item(_without_surrogates(mention or ""), _without_surrogates(sentence))
    return Refused("structure", _shown(element))


def _shown(element: Any) -> str:
    try:
        return json.dumps(element)[:_SHOWN]
    except RecursionError:
        return type(element).__name__


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    lowered = {key.casefold(): value for key, value in row.items()}
    return next((lowered[key] for key in keys if key in lowered), None)


def _lines(text: str) -> Iterator[str]:
    for match in _MARKED_LINE.finditer(text):
        line = match.group(1).strip("* \t\r")
        yield line[1:-1] if len(line) > 1 and _QUOTES.get(line[0]) == line[-1] else line


def _placed(item: _Item, others: Mapping[str, str]) -> Marked | Refused:
    """The sentence without marking brackets and where the mention is in it."""
    sentence, mention = clean_name(item.sentence), _unbracketed(clean_name(item.mention))
    keys = {fold(name): code for name, code in others.items()}
    own = _stated(sentence, mention) or _unstated(sentence, mention, keys)
    if isinstance(own, Refused):
        return own
    if not any(c.isalnum() for c in own.text):
        return Refused("empty_mention", sentence[:_SHOWN])
    if fold(own.text) in keys:
        return Refused("mention_mismatch", sentence[:_SHOWN])
    further = [piece for piece in _pieces(sentence) if (piece.says(mention) or fold(piece.text) in keys) and not piece.overlaps(own)]
    text, spans = _stripped(sentence, [own, *further])
    marked = [(spans[piece], keys[fold(piece.text)]) for piece in further if fold(piece.text) in keys]
    return Marked(text, spans[own], _with_verbatim(text, spans[own], marked, others))


class _Piece(NamedTuple):
    """A piece of a sentence: its text, and its range, which has the brackets around it, if any, inside."""

    text: str
    start: int
    end: int

    def says(self, mention: str) -> bool:
        return fold(self.text) == fold(mention)

    def overlaps(self, other: "_Piece") -> bool:
        return self.start < other.end and other.start < self.end


def _pieces(sentence: str) -> list[_Piece]:
    """The bracketed pieces that stand apart like a word, outermost ones, brackets inside balanced: not the `[a]` of "benz[a]anthracene"."""
    found, depth, start = [], 0, 0
    for i, c in enumerate(sentence):
        if c == "[":
            start = start if depth else i
            depth += 1
        elif c == "]" and depth:
            depth -= 1
            if depth == 0 and _apart(sentence, start, i + 1):
                found.append(_Piece(sentence[start + 1 : i].strip(), start, i + 1))
    return found


def _apart(sentence: str, start: int, end: int) -> bool:
    return not (sentence[start - 1 : start].isalnum() or sentence[end : end + 1].isalnum())


def _unbracketed(mention: str) -> str:
    """A mention field without the one pair of brackets around it."""
    pieces = _pieces(mention)
    return pieces[0].text if len(pieces) == 1 and (pieces[0].start, pieces[0].end) == (0, len(mention)) else mention


def _stated(sentence: str, mention: str) -> _Piece | None:
    """The first bracketed piece that is the mention stated."""
    if not mention:
        return None
    # A name may have a bracket without its partner, so that nothing is balanced: "[interval [0, 5)]".
    at = sentence.find(f"[{mention}]")
    literal = [_Piece(mention, at, at + len(mention) + 2)] if at >= 0 and _apart(sentence, at, at + len(mention) + 2) else []
    return next((piece for piece in sorted([*literal, *_pieces(sentence)], key=lambda piece: piece.start) if piece.says(mention)), None)


def _unstated(sentence: str, mention: str, keys: Mapping[str, str]) -> _Piece | Refused:
    """The mention where no bracketed piece is the one stated, or none is stated."""
    bracketed = [piece for piece in _pieces(sentence) if fold(piece.text) not in keys]
    bare = (_bare(sentence, mention, re.NOFLAG) or _bare(sentence, mention, re.IGNORECASE)) if mention else []
    if bare and bracketed:
        return Refused("mention_mismatch", sentence[:_SHOWN])
    candidates = bare or bracketed
    if len(candidates) == 1:
        return candidates[0]
    return Refused("ambiguous_mention" if candidates else "no_mention", sentence[:_SHOWN])


def _bare(sentence: str, mention: str, flags: re.RegexFlag) -> list[_Piece]:
    """Where the mention stands without brackets, as whole words."""
    return [_Piece(match.group(), *match.span()) for match in re.finditer(rf"(?<!\w){re.escape(mention)}(?!\w)", sentence, flags)]


def _stripped(sentence: str, pieces: Sequence[_Piece]) -> tuple[str, dict[_Piece, Span]]:
    """The sentence with each piece in place of its bracketed self, and where the pieces then are."""
    text, at, spans = "", 0, {}
    for piece in sorted(pieces, key=lambda piece: piece.start):
        text += sentence[at : piece.start]
        spans[piece] = Span(len(text), len(text) + len(piece.text))
        text, at = text + piece.text, piece.end
    return text + sentence[at:], spans


def _with_verbatim(text: str, mention: Span, marked: list[tuple[Span, str]], others: Mapping[str, str]) -> tuple[tuple[Span, str], ...]:
    """The marked other concepts, and those whose name stands in the text as given; longer names first, so that none is found inside another."""
    taken, found = [mention, *(span for span, _ in marked)], list(marked)
    for name in sorted(others, key=len, reverse=True):
        if not name.strip():
            continue
        for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            span = Span(*match.span())
            if all(span.end <= other.start or other.end <= span.start for other in taken):
                taken.append(span)
                found.append((span, others[name]))
    return tuple(sorted(found))
