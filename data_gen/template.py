"""The `template` writer: offline, seeded, no model.

A sentence is a frame with the mention and phrases of the concept's branch put in, so that the context tells what the mention
alone may not: "MS" beside a diastolic murmur is a valve's.  Every sentence has a random generator of its own, seeded by
(seed, code, number), so that subsets and resumed runs write the same rows.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby
from typing import Any, Literal, get_args

import yaml

from data_gen.branches import TEMPLATES, Branch, Branches, branches_of
from data_gen.mentions import CHANGES, initials
from data_gen.writer import Context, Generation, Request, document_seed
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.text import fold
from syncabel.types import Abbreviation, Concept, Document, Mention, Provenance, Rejection, Span

__all__ = ["FrameSet", "NamesWritten", "TemplateWriter", "usable_names"]

FrameSet = Literal["all", "train", "test"]
NamesWritten = Literal["turns", "preferred"]
_FORMER = (0.06, "turns")  # defined_share and names, as they always were
_SLOT = re.compile(r"\{(\w+)\}")
_FULL_STOP = re.compile(r"(?<=[.?!])\s+")
_CHANGES, _WEIGHTS = tuple(CHANGES), tuple(CHANGES.values())
_BRANCH_SLOTS = frozenset(("finding", "site", "test", "treatment", "clinic", "doctor"))
_NUMBERS = {"age": range(19, 93), "weeks": range(2, 13), "years": range(2, 21), "percent": range(2, 41), "count": range(12, 900)}


@dataclass(frozen=True, slots=True)
class Frame:
    """A sentence frame.

    Attributes:
        parts: literal text at even places, slot names at odd ones.
        kind: register, or `plain`, `defined`, `defined_plain`.
        slots: the slots it has.
        telling: slots filled from the branch in the very sentence that holds the mention.
    """

    parts: tuple[str, ...]
    kind: str
    slots: frozenset[str]
    telling: int


def _frame(text: str, kind: str) -> Frame:
    sentence = next(part for part in _FULL_STOP.split(text) if "{M}" in part)
    telling = sum(slot in _BRANCH_SLOTS for slot in _SLOT.findall(sentence))
    return Frame(tuple(_SLOT.split(text)), kind, frozenset(_SLOT.findall(text)), telling)


@cache
def _frames(language: str, which: FrameSet) -> tuple[Frame, ...]:
    """Every fourth frame of each register is a test frame."""
    with (TEMPLATES / f"{language}.yaml").open(encoding="utf-8") as file:
        rows: dict[str, list[str]] = yaml.safe_load(file)
    wanted = {"all": (0, 1, 2, 3), "train": (0, 1, 2), "test": (3,)}[which]
    return tuple(_frame(text, kind) for kind, texts in rows.items() for i, text in enumerate(texts) if i % 4 in wanted or kind.startswith("defined"))


@cache
def _choose(which: FrameSet, need: str, parent: bool) -> tuple[Frame, ...]:
    """The frames that serve a need: `telling` (two or more telling words), `rich`, `plain`, `defined`, `defined_plain`."""
    frames = [frame for frame in _frames("en", which) if parent or "parent" not in frame.slots]
    if need == "telling":
        return tuple(frame for frame in frames if frame.telling >= 2 and not frame.kind.startswith("defined"))
    if need == "rich":
        return tuple(frame for frame in frames if not frame.kind.startswith("defined"))
    return tuple(frame for frame in frames if frame.kind == need)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a sentence will say: the mention, its long form where it is defined, the frames to draw from, whose words."""

    mention: str
    frames: tuple[Frame, ...]
    branches: tuple[Branch, ...]
    long_form: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateWriter:
    """Sentences from frames.

    Attributes:
        frames: `train` and `test` share no frame, `all` has both.
        short_form_share: fraction of a concept's sentences that name it by a shared short form, where it has one.
        unchanged_share: fraction of the other sentences that have a name as it is.
        defined_share: fraction of the sentences that define initials of the name and go on with these.
        names: `turns`, all names of a concept one after the other; `preferred`, that one alone, unless it is held out.
        name, model, style: see `Writer`.

    Raises:
        ConfigError: a share that is no fraction.
        UnknownNameError: frames or names that there are not.
    """

    frames: FrameSet = "all"
    short_form_share: float = 0.25
    unchanged_share: float = 0.3
    defined_share: float = 0.06
    names: NamesWritten = "turns"
    name: str = field(default="template", init=False)
    model: str = field(default="", init=False)
    style: str = field(default="", init=False)

    def __post_init__(self) -> None:
        for name, known in (("frames", get_args(FrameSet)), ("names", get_args(NamesWritten))):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name in ("short_form_share", "unchanged_share", "defined_share"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(f"{name} is {value}; it is a fraction, give 0 to 1")

    @property
    def digest(self) -> str:
        """SHA-256 of the sentence frames, the vocabulary and the options."""
        files = b"".join((TEMPLATES / file).read_bytes() for file in ("branches.yaml", "en.yaml"))
        options = f"{self.frames} {self.short_form_share} {self.unchanged_share}"
        if (self.defined_share, self.names) != _FORMER:  # else folders that were written before there were these could not be gone on with
            options += f" {self.defined_share} {self.names}"
        return hashlib.sha256(files + options.encode()).hexdigest()

    def calls(self, n: int) -> int:
        """One a sentence."""
        return n

    def requests(self, concept: Concept, context: Context, n: int, seed: int, first: int = 0) -> list[Request]:
        """One a sentence."""
        return [Request(concept, context, i, seed, document_seed(seed, concept.code, i)) for i in range(first, first + n)]

    def answers(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """A sentence a request; which name is the writer's choice, the rest is drawn."""
        for concept, context, asked in _by_concept(requests):
            names = usable_names(concept, context.avoid)
            if self.names == "preferred" and concept.preferred_name in names:
                names = (concept.preferred_name,)
            branches = branches_of(context.lineage)
            for request in asked:
                name = names[request.number % len(names)] if names else None
                answer = self._sentence(name, context, branches, random.Random(request.seed)) if name is not None else ""
                yield Generation(concept.code, request.number, request.run_seed, request.seed, answer)

    def _sentence(self, name: str, context: Context, branches: Branches, rng: random.Random) -> str:
        return self._answer(self._plan(name, context, branches, rng), context, rng)

    def _answer(self, plan: _Plan, context: Context, rng: random.Random) -> str:
        return json.dumps(_filled(plan, context.parents, rng), ensure_ascii=False)

    def _plan(self, name: str, context: Context, branches: Branches, rng: random.Random) -> _Plan:
        parent, drawn = bool(context.parents), rng.random()
        shared = [short for short in context.short_forms if fold(short) not in context.avoid]
        if shared and branches.leading and (name in shared or rng.random() < self.short_form_share):
            # Only the leading branch speaks: a second one may be what the namesakes have in common.
            short = name if name in shared else rng.choice(shared)
            return _Plan(short, _choose(self.frames, "telling", parent), (branches.leading,))
        made = initials(name)
        if drawn < self.defined_share and made and fold(made) not in context.avoid:
            return _Plan(made, _choose(self.frames, "defined" if branches.both else "defined_plain", parent), branches.both, name)
        mention = name if drawn < self.defined_share + self.unchanged_share else _changed(name, context.avoid, rng)
        return self._as_it_is(mention, context, branches)

    def _as_it_is(self, mention: str, context: Context, branches: Branches) -> _Plan:
        return _Plan(mention, _choose(self.frames, "rich" if branches.both else "plain", bool(context.parents)), branches.both)

    def sentence_with(self, mention: str, request: Request) -> Generation:
        """A sentence with a mention that somebody else has chosen, as it is, never as a short form that is defined.

        Args:
            mention: what to name the concept by.
            request: of the concept; its seed decides the frame and what fills it.

        Returns:
            For `parse`, as those of `answers`.
        """
        context, rng = request.context, random.Random(request.seed)
        branches = branches_of(context.lineage)
        answer = self._answer(self._as_it_is(mention, context, branches), context, rng)
        return Generation(request.concept.code, request.number, request.run_seed, request.seed, answer)

    def parse(self, generation: Generation, concept: Concept, context: Context) -> list[Document | Rejection]:
        """The one sentence of an answer as a Document."""
        identifier = f"{self.name}-{generation.run_seed}-{generation.code}-{generation.number}"
        if not generation.answer:
            return [Rejection(identifier, concept.code, "no_usable_name", f"{concept.preferred_name}: every name is held out")]
        row: dict[str, Any] = json.loads(generation.answer)
        text, span = row["text"], Span(*row["mention"])
        mention = Mention("m0", (span,), text[span.start : span.end], concept.groups[0], ((concept.code,),))
        pairs = (Abbreviation(Span(*row["short"]), Span(*row["long"])),) if "short" in row else ()
        provenance = Provenance(concept.code, self.name, self.model, generation.seed, generation.prompt_digest, context.kb_digest)
        return [Document(identifier, text, (mention,), source="synthetic", abbreviations=pairs, provenance=provenance)]


def _by_concept(requests: Iterable[Request]) -> Iterator[tuple[Concept, Context, Iterator[Request]]]:
    for _, asked in groupby(requests, lambda request: request.concept.code):
        first = next(asked)
        yield first.concept, first.context, chain([first], asked)  # noqa: B031 - what is left of it


def usable_names(concept: Concept, avoid: frozenset[str]) -> tuple[str, ...]:
    """The names to write with: exact and narrow ones, all where there are none of these, without those to avoid."""
    names = [name.text for name in concept.names if fold(name.text) not in avoid]
    close = [name.text for name in concept.names if name.scope in ("exact", "narrow") and fold(name.text) not in avoid]
    return tuple(dict.fromkeys(close or names))


def _changed(name: str, avoid: frozenset[str], rng: random.Random) -> str:
    """The name with one or two changes, never into one to avoid; the name itself where nothing applies."""
    changed = name
    for _ in range(2 if rng.random() < 0.25 else 1):
        other = _once(changed, rng)
        changed = other if other and fold(other) not in avoid else changed
    return changed


def _once(name: str, rng: random.Random) -> str | None:
    return next((other for change in rng.choices(_CHANGES, _WEIGHTS, k=4) if (other := change(name, rng))), None)


def _filled(plan: _Plan, parents: tuple[str, ...], rng: random.Random) -> dict[str, Any]:
    """The sentence and the offsets of mention, short and long form in it."""
    frame = rng.choice(plan.frames)
    used: set[str] = set()
    at: dict[str, list[int]] = {}
    text = ""
    for place, part in enumerate(frame.parts):
        piece = _slot(part, plan, parents, used, rng) if place % 2 else part
        if piece[:1] in "aeiou" and text.endswith((" a ", " A ")):
            text = text[:-1] + "n "
        if place % 2 and piece[:1].islower() and (not text or text.endswith(". ")):
            piece = piece[0].upper() + piece[1:]
        if part in "MLS" and place % 2:
            at[part] = [len(text), len(text) + len(piece)]
        text += piece
    return {"text": text, "mention": at["M"], **({"short": at["S"], "long": at["L"]} if "S" in at else {})}


def _slot(slot: str, plan: _Plan, parents: tuple[str, ...], used: set[str], rng: random.Random) -> str:
    if slot in "MS":
        return plan.mention
    if slot == "L":
        return plan.long_form or plan.mention
    if slot == "parent":
        return rng.choice(parents)
    if slot in _NUMBERS:
        return str(rng.choice(_NUMBERS[slot]))
    # The second branch colours a third of the words, where there is one.
    branch = plan.branches[-1] if rng.random() < 0.33 else plan.branches[0]
    phrases = [phrase for phrase in branch.phrases[slot] if phrase not in used] or branch.phrases[slot]
    phrase = rng.choice(phrases)
    used.add(phrase)
    return phrase
