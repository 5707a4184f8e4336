"""Which concepts are written about, in which order, and what that costs: pure functions of a knowledge base and counts.

`plan` chooses and orders; what it goes by is made here as well: `expected_use` from unlabelled texts, `confusability` from the
names themselves.  `estimate` says what a plan will cost.
"""

import hashlib
import math
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Literal, get_args

import marisa_trie
import numpy as np
from numpy.typing import NDArray

from data_gen.mentions import initials
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.text import fold
from syncabel.types import Concept

if TYPE_CHECKING:
    from syncabel.kb import KnowledgeBase

__all__ = ["Budget", "Cost", "Estimate", "Facts", "Plan", "Select", "confusability", "estimate", "expected_use", "plan"]

Select = Literal["all", "unseen", "budget"]
_SHORT = 5  # code points; a name up to here that is written in capitals is a short form
_SHARED, _SHORT_FORM, _NEAR = 4, 2, 1  # weights: a shared name misleads more surely than shared initials, these more than a neighbour's name
_NUMBER = re.compile(r"\d+|[ivx]+|[a-z]|\d+[a-z]|[a-z]\d+")
_WORD = re.compile(r"\w+")
_START = re.compile(r"\w+|(?<!\S)[^\w\s]")  # where a name may begin: a word, or a sign that opens one, as in "(s)-warfarin"


@dataclass(frozen=True, slots=True)
class Cost:
    """What is asked for one concept.

    Attributes:
        requests: calls of the writer.
        prompt_tokens, completion_tokens: read and written, over all of its requests; 0 where no model writes.
    """

    requests: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Read and written together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Budget:
    """Most that a plan may cost; None sets no limit, one of them must be set.

    Attributes:
        requests: calls of the writer.
        tokens: read and written together.
    """

    requests: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.requests, self.tokens) if limit is not None]
        if not limits or min(limits) < 1:
            raise ConfigError(f"a budget of {self.requests} requests and {self.tokens} tokens; give 1 or more of one of them")

    def covers(self, requests: int, tokens: int) -> bool:
        """Whether so much may be spent."""
        return (self.requests is None or requests <= self.requests) and (self.tokens is None or tokens <= self.tokens)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan covers; concepts = planned + held_out + passed_over + beyond_budget.

    Attributes:
        concepts: of the knowledge base.
        unseen: those that no human training mention has.
        planned, planned_unseen: those to be written about.
        held_out: kept out of synthesis, all of them unseen.
        passed_over: in training, where only unseen ones were asked for.
        beyond_budget: wanted, but the budget was spent.
        groups: planned concepts per group; one of several groups counts in each.
        sentences, requests, tokens: what the planned ones are asked for.
        use, planned_use: occurrences in the unlabelled texts, of all concepts and of the planned ones.
    """

    concepts: int
    unseen: int
    planned: int
    planned_unseen: int
    held_out: int
    passed_over: int
    beyond_budget: int
    groups: dict[str, int] = field(default_factory=dict)
    sentences: int = 0
    requests: int = 0
    tokens: int = 0
    use: int = 0
    planned_use: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Codes in the order they are written about, those held out in code order, and the facts."""

    codes: tuple[str, ...]
    held_out: tuple[str, ...]
    facts: Facts


def plan(
    kb: "KnowledgeBase",
    *,
    select: Select = "all",
    trained: Collection[str] = (),
    use: Mapping[str, int] | None = None,
    confusability: Mapping[str, float] | None = None,
    hold_out: float = 0.0,
    seed: int = 0,
    per_concept: int = 1,
    budget: Budget | None = None,
    cost: Callable[[str], Cost] | None = None,
) -> Plan:
    """Choose concepts and put them in order; the same for the same arguments, whatever the process.

    `all` takes every concept in code order, `unseen` those absent from training, both without the ones held out.  `budget` takes unseen
    concepts before the others; within these, those expected to be used more come first, in steps of powers of two, for
    counts of one corpus say no more; within a step the groups take turns, each with its most confusable concept first, and a
    concept of several groups takes the turn of the first.  What is still tied is drawn.  The longest beginning of
    this order that the budget covers is the plan, so that a larger budget adds concepts and replaces none.

    Args:
        kb: the knowledge base.
        select: see above.
        trained: codes with human training mentions; alternative codes resolve, unknown ones count for nothing.
        use: expected use, see `expected_use`.
        confusability: see `confusability`; None counts all as equal.
        hold_out: share of the unseen concepts kept out of synthesis, in [0, 1], drawn for each concept by itself: no
            concept changes sides when the knowledge base grows.
        seed: of what is drawn.
        per_concept: sentences asked for per concept.
        budget: with `budget`, and only there.
        cost: what a concept costs; by default a request a sentence and no tokens.

    Raises:
        UnknownNameError: no such selection.
        ConfigError: a share outside [0, 1], fewer than one sentence, a budget missing or of no use, a budget in tokens without their cost.
    """
    if select not in get_args(Select):
        raise UnknownNameError("selection", select, get_args(Select))
    _refuse_contradictions(select, hold_out, per_concept, budget, cost)
    known = {code for one in trained if (code := kb.canonical(one)) is not None}
    seen = known.__contains__
    held = tuple(code for code in kb.codes if not seen(code) and _drawn(seed, "hold-out", code) < hold_out)
    kept_out = frozenset(held)
    wanted = [code for code in kb.codes if code not in kept_out and (select != "unseen" or not seen(code))]
    groups = dict(kb.table("concepts").select("code", "groups").iter_rows())
    counts = use or {}
    price = cost or (lambda _: Cost(per_concept))
    if budget is not None:
        ordered = _ordered(wanted, seen, counts, confusability or {}, groups, seed)
        chosen = list(_covered(ordered, budget, price))
    else:
        chosen = wanted
    spent = [price(code) for code in chosen]
    facts = Facts(
        concepts=len(kb),
        unseen=len(kb) - len(known),
        planned=len(chosen),
        planned_unseen=sum(not seen(code) for code in chosen),
        held_out=len(held),
        passed_over=len(kb) - len(held) - len(wanted),
        beyond_budget=len(wanted) - len(chosen),
        groups=dict(sorted(Counter(chain.from_iterable(groups[code] for code in chosen)).items())),
        sentences=per_concept * len(chosen),
        requests=sum(one.requests for one in spent),
        tokens=sum(one.tokens for one in spent),
        use=sum(counts.get(code, 0) for code in kb.codes),
        planned_use=sum(counts.get(code, 0) for code in chosen),
    )
    return Plan(tuple(chosen), held, facts)


def _refuse_contradictions(select: Select, hold_out: float, per_concept: int, budget: Budget | None, cost: Callable[[str], Cost] | None) -> None:
    if not 0 <= hold_out <= 1:
        raise ConfigError(f"hold_out is {hold_out}; give a share from 0 to 1")
    if per_concept < 1:
        raise ConfigError(f"per_concept is {per_concept}; ask for 1 sentence or more per concept")
    if (select == "budget") != (budget is not None):
        raise ConfigError(f"select {select!r} {'needs a' if budget is None else 'takes no'} budget; select 'budget' and state one in requests or tokens")
    if budget is not None and budget.tokens is not None and cost is None:
        raise ConfigError("a budget in tokens needs the cost of a concept; state the budget in requests for a writer without a model")


def _drawn(seed: int, purpose: str, code: str) -> float:
    """A number in [0, 1) that depends on these three and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}\t{purpose}\t{code}".encode()).digest()[:6], "big") / (1 << 48)


def _ordered(
    codes: Iterable[str],
    seen: Callable[[str], bool],
    use: Mapping[str, int],
    confusable: Mapping[str, float],
    groups: Mapping[str, Sequence[str]],
    seed: int,
) -> list[str]:
    """Codes by the rules of `plan`."""
    tiers: defaultdict[tuple[bool, int, str], list[str]] = defaultdict(list)
    for code in codes:
        tiers[seen(code), -use.get(code, 0).bit_length(), groups[code][0]].append(code)
    rows = []
    for (known, step, group), members in tiers.items():
        members.sort(key=lambda code: (-confusable.get(code, 0.0), _drawn(seed, "order", code), code))
        rows += [((known, step, turn, -confusable.get(code, 0.0), group), code) for turn, code in enumerate(members)]
    return [code for _, code in sorted(rows)]


def _covered(codes: Iterable[str], budget: Budget, cost: Callable[[str], Cost]) -> Iterator[str]:
    requests = tokens = 0
    for code in codes:
        one = cost(code)
        requests, tokens = requests + one.requests, tokens + one.tokens
        if not budget.covers(requests, tokens):
            return
        yield code


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will cost.

    Attributes:
        concepts: how many.
        requests, prompt_tokens, completion_tokens: for all of them.
        tokens_per_s: written per second, as stated by the user.
        hours: for writing; reading the prompts is left out, most of it is shared and cached.
    """

    concepts: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    tokens_per_s: float
    hours: float

    @property
    def per_concept(self) -> tuple[float, float, float, float]:
        """Requests, tokens read, tokens written and seconds for one concept."""
        n = max(self.concepts, 1)
        return self.requests / n, self.prompt_tokens / n, self.completion_tokens / n, 3600 * self.hours / n


def estimate(sample: Sequence[Cost], concepts: int, tokens_per_s: float) -> Estimate:
    """The mean cost of a sample, for so many concepts.

    Args:
        sample: costs of some of the concepts, or of all.
        concepts: how many will be written about.
        tokens_per_s: tokens the engine writes in a second, over all requests it works on at once.

    Raises:
        ConfigError: nothing to estimate from, or no speed.
    """
    if not sample:
        raise ConfigError("no concept is planned, so there is nothing to estimate; choose concepts")
    if not tokens_per_s > 0:
        raise ConfigError(f"a speed of {tokens_per_s} tokens/s; give the tokens that the engine writes in a second")

    def scaled(total: int) -> int:
        return math.ceil(total * concepts / len(sample))

    requests = scaled(sum(cost.requests for cost in sample))
    read, written = scaled(sum(cost.prompt_tokens for cost in sample)), scaled(sum(cost.completion_tokens for cost in sample))
    return Estimate(concepts, requests, read, written, tokens_per_s, written / tokens_per_s / 3600)


def expected_use(kb: "KnowledgeBase", texts: Iterable[str]) -> dict[str, int]:
    """How often concepts are named in unlabelled texts by one of their names, word for word.

    Case, width and white space aside (`text.fold`), from one word boundary to another, the longest name first from left to
    right, none inside another.  A name of several concepts counts for each of them.  A short form ("ALL", "HbS": up to 5
    characters with a capital after the first) counts only where it is written so, else every "all" would be a leukaemia;
    names of one character or without a letter are not looked for.

    Args:
        kb: the knowledge base.
        texts: sentences or documents, read one at a time.

    Returns:
        Occurrences per code, in code order; concepts that do not occur are left out.
    """
    names = _Names(kb)
    found: Counter[str] = Counter()
    for text in texts:
        for owners in names.found_in(text):
            found.update(owners)
    return dict(sorted(found.items()))


class _Names:
    """Finds the names of a knowledge base in running text."""

    def __init__(self, kb: "KnowledgeBase") -> None:
        self._kb = kb
        self._trie = marisa_trie.Trie(name for text in kb.table("names")["text"] if len(name := fold(text)) > 1 and any(map(str.isalpha, name)))
        self._longest = max(map(len, self._trie), default=0)
        # Most words of a text begin no name, and a set says so sooner than the trie.
        self._firsts = {first.group() for name in self._trie if (first := _START.match(name))}
        self._owners: dict[str, tuple[frozenset[str], dict[str, frozenset[str]]]] = {}

    def found_in(self, text: str) -> Iterator[Collection[str]]:
        """The owners of each name in a text, from left to right."""
        folded, end = fold(text), 0
        for start in _START.finditer(folded):
            if start.start() < end or start.group() not in self._firsts:
                continue
            at = start.start()
            for name in reversed(self._trie.prefixes(folded[at : at + self._longest])):
                if not _is_boundary(folded, at + len(name)):
                    continue
                if owners := self._owners_of(name, text, folded, at):
                    end = at + len(name)
                    yield owners
                    break

    def _owners_of(self, name: str, text: str, folded: str, at: int) -> Collection[str]:
        """Codes of the concepts that a folded name at this place may mean."""
        if name not in self._owners:
            self._owners[name] = self._written(name)
        anyhow, exactly = self._owners[name]
        if not exactly:
            return anyhow
        shown = _unfolded(text)
        # Where folding changed a length, what was written at this place is not known, and a short form is not claimed.
        surface = shown[at : at + len(name)] if len(shown) == len(folded) else ""
        return anyhow | exactly.get(surface, frozenset())

    def _written(self, name: str) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
        """Owners however the name is written, and owners by the one way they write it."""
        anyhow, exactly = set(), defaultdict(set)
        for code in self._kb.codes_of(name):
            forms = {_unfolded(one.text) for one in self._kb.concept(code).names if fold(one.text) == name}
            if all(map(_is_short_form, forms)):
                for form in forms:
                    exactly[form].add(code)
            else:
                anyhow.add(code)
        return frozenset(anyhow), {form: frozenset(codes) for form, codes in exactly.items()}


def _unfolded(text: str) -> str:
    """What `fold` makes of a text, its case left as it is."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _is_short_form(name: str) -> bool:
    return len(name) <= _SHORT and any(map(str.isupper, name[1:]))


def _is_boundary(text: str, at: int) -> bool:
    return at == len(text) or not (_WORD.match(text, at) and _WORD.match(text, at - 1))


def confusability(kb: "KnowledgeBase") -> dict[str, float]:
    """How easily a concept is taken for another one, by its names: a fraction in [0, 1) per code, in code order.

    Three things are looked at: a name that other concepts have too, a short form (initials, or a name in capitals)
    that they share, and names that are nearly the same: the same words in another order, or all but one number or, of three
    words or more, all but one word.  Of each, the most crowded one counts, n / (n + 1) for n other concepts, weighted 4 : 2 : 1.  No pairs are
    compared, so the time grows with the names.

    Args:
        kb: the knowledge base.
    """
    names, shorts, near = _Crowd(), _Crowd(), _Crowd()
    for concept in kb.concepts():
        folded = {fold(name.text) for name in concept.names}
        names.add(folded)
        shorts.add(_short_forms(concept))
        near.add({key for name in folded for key in _near_keys(name)})
    parts = zip((names, shorts, near), (_SHARED, _SHORT_FORM, _NEAR), strict=True)
    scores = sum(crowd.others() * weight for crowd, weight in parts) / (_SHARED + _SHORT_FORM + _NEAR)
    return dict(zip(kb.codes, np.asarray(scores).tolist(), strict=True))


def _short_forms(concept: Concept) -> set[str]:
    made = {short for name in concept.names if len(name.text.split()) > 1 and (short := initials(name.text))}
    return made | {name.text for name in concept.names if 1 < len(name.text) <= _SHORT and name.text.isupper()}


def _near_keys(name: str) -> Iterator[str]:
    """Keys that a name shares with those that differ from it in little."""
    words = _WORD.findall(name)
    if len(words) < 2:
        return
    yield " ".join(sorted(words))
    for i, word in enumerate(words):
        if _NUMBER.fullmatch(word):
            yield " ".join((*words[:i], "#", *words[i + 1 :]))
        elif len(words) > 2:
            yield " ".join((*words[:i], "*", *words[i + 1 :]))


class _Crowd:
    """Counts how many concepts have a key in common; keys are kept as 64-bit digests, ten million of them in 80 MB."""

    def __init__(self) -> None:
        self._keys, self._sizes = array("Q"), array("Q")

    def add(self, keys: Collection[str]) -> None:
        """The keys of the next concept, each once."""
        self._sizes.append(len(keys))
        self._keys.extend(int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") for key in keys)

    def others(self) -> NDArray[np.float64]:
        """n / (n + 1) for the n other concepts at the most crowded key of each concept. Shape: (concepts,)."""
        sizes = np.frombuffer(self._sizes, np.uint64).astype(np.int64)
        most = np.zeros(len(sizes))
        if not len(self._keys):
            return most
        _, place, counts = np.unique(np.frombuffer(self._keys, np.uint64), return_inverse=True, return_counts=True)
        starts = np.cumsum(sizes) - sizes
        most[sizes > 0] = np.maximum.reduceat(counts[place] - 1, starts[sizes > 0])
        return most / (most + 1)
