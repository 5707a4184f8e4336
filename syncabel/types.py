"""The types everything else speaks: frozen, slotted, checked where they are made.

Offsets have one definition: half-open, in Unicode code points of `Document.text`.  A type is its file format: `to_json`
and `from_json` go by the dataclass fields, so no column name is written twice.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args, get_origin

from syncabel.errors import FormatError, OffsetError, UnknownNameError

__all__ = [
    "NIL_CODE",
    "NO_CODE",
    "Abbreviation",
    "Concept",
    "Document",
    "LinkedMention",
    "Linker",
    "MapRule",
    "Mention",
    "Name",
    "Prediction",
    "Prompt",
    "Provenance",
    "Query",
    "Ranker",
    "Rejection",
    "Relation",
    "Retired",
    "SFTExample",
    "Scope",
    "Source",
    "Span",
    "Split",
    "as_split",
    "from_json",
    "to_json",
]

Scope = Literal["exact", "narrow", "broad", "related"]
Source = Literal["human", "synthetic"]
Split = Literal["train", "dev", "test"]
NO_CODE = "NO_CODE"  # what a free generation gets that is no name of the knowledge base (published convention)
NIL_CODE = "NIL"  # of the one leaf that says "none of these", where a lexicon has it


@dataclass(frozen=True, slots=True)
class Name:
    """One name of a concept.

    Attributes:
        text: as written in the vocabulary.
        language: ISO 639-1 code.
        scope: how the name relates to the concept (OBO synonym scopes).
        preferred: whether it is the concept's preferred name in this language.
    """

    text: str
    language: str = "en"
    scope: Scope = "exact"
    preferred: bool = False


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept of a vocabulary.

    Attributes:
        code: the identifier, always a string.
        names: all names; the first preferred one is `preferred_name`.
        groups: semantic groups it belongs to, at least one; a group's name holds no `|`, brace or bracket.
        types: finer types as the vocabulary gives them (TUIs, semantic tags).
        definition: one text, or None.
        parents: codes of the direct parents (is_a).
        alt_codes: other codes that stand for the same concept, one to one.
        xrefs: codes in other vocabularies, "VOCABULARY:code".
    """

    code: str
    names: tuple[Name, ...]
    groups: tuple[str, ...]
    types: tuple[str, ...] = ()
    definition: str | None = None
    parents: tuple[str, ...] = ()
    alt_codes: tuple[str, ...] = ()
    xrefs: tuple[str, ...] = ()

    @property
    def preferred_name(self) -> str:
        """The first preferred name, else the first name."""
        return next((name.text for name in self.names if name.preferred), self.names[0].text)


@dataclass(frozen=True, slots=True)
class Relation:
    """One relationship between concepts other than is_a; two of different role groups are two."""

    source: str
    kind: str
    target: str
    role_group: int = 0


@dataclass(frozen=True, slots=True)
class Retired:
    """A code that is no longer a concept, and what its vocabulary says of it.

    One-to-one replacements are `Concept.alt_codes` and not repeated here: this is for codes that have no successor or several.

    Attributes:
        code: the retired one.
        reason: the vocabulary's word, e.g. "obsolete", "POSSIBLY_EQUIVALENT_TO", "consider".
        successors: codes that may stand for it now; none of them is the same concept.
    """

    code: str
    reason: str
    successors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapRule:
    """One row of a map to another vocabulary, with the rule under which it holds.

    Attributes:
        code: the concept.
        target: "VOCABULARY:code", as in `Concept.xrefs`.
        group, priority: rules of one group are tried by ascending priority and the first that holds wins; 0 where the map has none.
        rule: the condition as written, e.g. "TRUE", "IFA 248152002 | Female |"; "" for none.
        advice: the map's words for people, or "".
    """

    code: str
    target: str
    group: int = 0
    priority: int = 0
    rule: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open range [start, end) of Unicode code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mention:
    """A piece of text that names a concept.

    Attributes:
        id: unique within its document.
        spans: one, or several for a discontinuous mention, in text order.
        text: the fragments joined by one space.
        type: the annotated type, verbatim from the corpus.
        answers: None where nothing was annotated; () where annotated as not in the knowledge base (NIL); else
            alternative answers, any one of which suffices, each a sorted tuple of codes that are right together.
    """

    id: str
    spans: tuple[Span, ...]
    text: str
    type: str | None = None
    answers: tuple[tuple[str, ...], ...] | None = None

    @property
    def start(self) -> int:
        """First code point of the first fragment."""
        return self.spans[0].start

    @property
    def end(self) -> int:
        """End (exclusive) of the last fragment."""
        return self.spans[-1].end

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes of all answers, in order, each once."""
        return tuple(dict.fromkeys(code for answer in self.answers or () for code in answer))


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """A short form and the long form that defines it in the same text (Schwartz and Hearst, 2003)."""

    short: Span
    long: Span


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a synthetic document comes from.

    Attributes:
        concept: code of the concept it was written for.
        writer: name of the writer, e.g. "template".
        model: the model behind the writer, or "".
        seed: random seed of this very document.
        prompt_digest: SHA-256 of what was asked, or "".
        kb_digest: SHA-256 of the knowledge base.
        engine: what ran the model, with its version, or "".
        temperature, top_p: of the sampling; None where no model wrote.
    """

    concept: str
    writer: str
    model: str = ""
    seed: int = 0
    prompt_digest: str = ""
    kb_digest: str = ""
    engine: str = ""
    temperature: float | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its mentions; human and synthetic ones are the same type.

    Raises:
        OffsetError: a mention's text is not its fragments joined by one space, or a span leaves the text.
        FormatError: mention ids repeat, or an answer holds no code or an empty one.
        UnknownNameError: no such split: what keeps test documents out of training goes by it.
    """

    id: str
    text: str
    mentions: tuple[Mention, ...] = ()
    language: str = "en"
    source: Source = "human"
    split: Split | None = None
    abbreviations: tuple[Abbreviation, ...] = ()
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        as_split(self.split)
        for mention in self.mentions:
            check_offsets(self.id, self.text, mention)
            check_answers(self.id, mention)
        ids = [mention.id for mention in self.mentions]
        if len(set(ids)) != len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise FormatError(f"document {self.id!r}: mention id {twice!r} occurs twice", hint="give each mention its own id")
        for pair in self.abbreviations:
            for span in (pair.short, pair.long):
                check_span(self.id, self.text, span, "an abbreviation")

    def surface(self, span: Span) -> str:
        """The text a span covers."""
        return self.text[span.start : span.end]

    def long_form(self, short: str) -> str | None:
        """The long form this document defines for `short`, or None."""
        return next((self.surface(pair.long) for pair in self.abbreviations if self.surface(pair.short) == short), None)


def as_split(name: str | None) -> Split | None:
    """A split's name, checked.

    Raises:
        UnknownNameError: it is none of train, dev and test.
    """
    known: tuple[Split, ...] = get_args(Split)
    if name is None:
        return None
    for split in known:
        if name == split:
            return split
    raise UnknownNameError("split", name, known)


def check_span(document_id: str, text: str, span: Span, what: str) -> None:
    """Raise OffsetError where a span is empty or leaves the text."""
    if not 0 <= span.start < span.end <= len(text):
        raise OffsetError(document_id, span.start, span.end, what, text[max(span.start, 0) : max(span.end, 0)])


def check_offsets(document_id: str, text: str, mention: Mention) -> None:
    """Raise OffsetError unless the mention's text is its fragments, in order, joined by one space."""
    if not mention.spans:
        raise OffsetError(document_id, 0, 0, mention.text, "")
    last = 0
    for span in mention.spans:
        check_span(document_id, text, span, mention.text)
        if span.start < last:
            raise OffsetError(document_id, span.start, span.end, f"{mention.text} (fragments in text order, not overlapping)", text[span.start : span.end])
        last = span.end
    found = " ".join(text[span.start : span.end] for span in mention.spans)
    if found != mention.text:
        raise OffsetError(document_id, mention.start, mention.end, mention.text, found)


def check_answers(document_id: str, mention: Mention) -> None:
    """Raise FormatError where an answer holds no code, or an empty one; that there is no answer is written as `()`."""
    if any(not answer or not all(answer) for answer in mention.answers or ()):
        raise FormatError(
            f"document {document_id!r}: mention {mention.id!r} has an empty answer", hint="write [] for a mention that is not in the knowledge base"
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads before it writes a name; made by `syncabel.prompt` and by nothing else.

    Attributes:
        source: the context with the bracketed mention.
        question: `[mention] is`, in the language of the prompt.
        separated: whether the separator token stands between the two (format `syncabel`).
        mention: the mention's text.
        groups: semantic groups written into the prompt; empty where the type is unknown or was dropped.
        shared: what comes first and is the same for all mentions of a document, or of a block of it (format
            `document-first`); tokenised apart from the rest.
    """

    source: str
    question: str
    separated: bool
    mention: str
    groups: tuple[str, ...] = ()
    shared: str = ""


@dataclass(frozen=True, slots=True)
class SFTExample:
    """One training example.

    Attributes:
        prompt: what the model reads.
        completion: the leaf's name, without leading space and end token.
        code: the concept.
        source: human or synthetic.
        document_id, mention_id: where it comes from.
        provenance: of the synthetic document.
    """

    prompt: Prompt
    completion: str
    code: str
    source: Source
    document_id: str
    mention_id: str
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer for one mention.

    Attributes:
        codes: one code, `NIL_CODE` for "not in the knowledge base"; several, sorted, only for a composite answer; empty where a free
            generation is no name (`NO_CODE`).
        name: the name written; of a composite answer the names in the order of the codes, whichever was written first.
        log_prob: summed natural-log, full-vocabulary probability of the name's tokens and the end token; for a baseline
            its own score (higher is better).
        beam_score: exp(log_prob / number of tokens), end token counted (published definition); a fraction in [0, 1].
        mass: summed probability of the concept's names found; a fraction in [0, 1].
        certified: whether the search proved that no other concept has more mass.
        bound: upper bound of the probability left unsearched, or None.
        epsilon: how far log-probabilities may be off, which `certified` allows for (depends on the model's floating type), or None.
        confidence: calibrated probability of being right, or None.
    """

    codes: tuple[str, ...]
    name: str
    log_prob: float
    beam_score: float = 0.0
    mass: float = 0.0
    certified: bool = False
    bound: float | None = None
    epsilon: float | None = None
    confidence: float | None = None

    @property
    def code(self) -> str:
        """The code, `+`-joined for a composite answer, `NO_CODE` for none."""
        return "+".join(self.codes) if self.codes else NO_CODE

    @property
    def abstains(self) -> bool:
        """Whether it names no concept: NIL, or no name."""
        return self.codes in ((), (NIL_CODE,))


@dataclass(frozen=True, slots=True)
class LinkedMention:
    """The ranked predictions for one mention of one document; what `syncabel link` writes, one JSON object a line.

    Attributes:
        document_id, mention_id, text, start, end: the mention; offsets half-open in code points.
        groups: the groups the search was held to; empty for none.
        predictions: best first, one per concept.
        error: why there are none, or None.
        windowed: the prompt has less context than the format asks for, because the model's holds no more.
        abstained: why no answer is given though there were some, e.g. "confidence 0.412 is under 0.600", or None; `predictions` is
            empty then.
        alternatives: what was held back, best first; empty unless `abstained`.
        answer_set: codes that together hold the right one in the share of mentions that was asked for, best first (composite
            answers `+`-joined); None where no such set was asked for.
    """

    document_id: str
    mention_id: str
    text: str
    start: int
    end: int
    groups: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    error: str | None = None
    windowed: bool = False
    abstained: str | None = None
    alternatives: tuple[Prediction, ...] = ()
    answer_set: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something left out, and why; readers, gates and builders write these, one JSON object a line.

    Attributes:
        where: file and line, or document and mention.
        code: the concept concerned, or "".
        reason: one of a fixed set of words per producer, e.g. "offset", "unknown_code", "mention_absent".
        text: the rejected row, sentence or mention, with what a person needs to mend it.
    """

    where: str
    code: str
    reason: str
    text: str


class Query(NamedTuple):
    """A mention to rank concepts for: its document, itself, and the groups an answer must come from (empty: all)."""

    document: Document
    mention: Mention
    groups: tuple[str, ...] = ()


class Ranker(Protocol):
    """Ranks concepts for mentions: the baselines, the linker, hybrids."""

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k predictions a query, best first, one per concept; an empty list abstains."""
        ...


class Linker(Protocol):
    """Links the mentions of documents."""

    def link(self, documents: Iterable[Document]) -> Iterator[LinkedMention]:
        """One result per mention, in document and mention order."""
        ...


T = TypeVar("T")


_PLAIN = frozenset((str, int, float, bool, type(None)))


@cache
def _defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Name and default of each field of a dataclass; asked for every row that is written."""
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def to_json(value: Any) -> Any:
    """A dataclass as plain JSON values; fields at their defaults are left out, required ones stay."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(kind):
        return {name: to_json(item) for name, default in _defaults(kind) if (item := getattr(value, name)) != default or default is dataclasses.MISSING}
    return value


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """The inverse of `to_json`: build a dataclass from plain JSON values, checking names and types.

    Args:
        kind: the dataclass.
        value: a JSON object.
        where: place named in errors.

    Raises:
        FormatError: unknown or missing fields, or values of a wrong type.
    """
    return typing.cast(T, _convert(kind, value, where or kind.__name__))


@cache
def _fields(kind: type) -> dict[str, Any]:
    """Name -> type of a dataclass's fields."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _required(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING)


@cache
def _taken_apart(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What `get_origin` and `get_args` say of a type, with `dataclass` as the origin of one; both are slow to ask for millions of values."""
    return dataclass if dataclasses.is_dataclass(kind) else get_origin(kind), get_args(kind)


def _convert(kind: Any, value: Any, where: str) -> Any:
    if type(value) is kind and kind in _PLAIN:  # most values; millions of rows are read this way
        return value
    origin, parts = _taken_apart(kind)
    if origin is dataclass:
        return _convert_object(typing.cast(type, kind), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise FormatError(f"{where} should be a list, not {type(value).__name__}")
        return tuple(_convert(parts[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise FormatError(f"{where} should be an object, not {type(value).__name__}")
        return {_convert(parts[0], key, where): _convert(parts[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _convert(next(arg for arg in parts if arg is not type(None)), value, where)
    if origin is Literal:
        if value not in parts:
            raise _no_choice(where, value, parts)
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"{where} should be {kind.__name__}, not {type(value).__name__}")
    return value


def _no_choice(where: str, value: Any, known: Sequence[str]) -> FormatError:
    near = difflib.get_close_matches(value.casefold(), known, n=1) if isinstance(value, str) else []
    return FormatError(f"{where} should be one of {', '.join(map(repr, known))}, not {value!r}", hint=f"did you mean {near[0]!r}?" if near else "")


def _convert_object(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise FormatError(f"{where} should be an object, not {type(value).__name__}")
    fields = _fields(kind)
    if unknown := [key for key in value if key not in fields]:
        raise FormatError(f"{where} has unknown field {unknown[0]!r}", hint=f"known: {', '.join(fields)}")
    if missing := [name for name in _required(kind) if name not in value]:
        raise FormatError(f"{where} misses field {missing[0]!r}")
    return kind(**{name: _convert(fields[name], item, f"{where}.{name}") for name, item in value.items()})
