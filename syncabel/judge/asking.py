"""Asking what is left to ask: votes in both orders, attempts, a cap on what is spent.

The caller hands in who answers; this module knows no server and no model.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from syncabel.errors import ConfigError
from syncabel.judge.answers import Unparsable, parse_answer
from syncabel.judge.labels import Relation, turned
from syncabel.judge.log import AnswerLog, Spent, StoredAnswer
from syncabel.judge.questions import Encode, Message, Question, json_line, messages
from syncabel.judge.shots import Example

__all__ = ["Answer", "Answerer", "Asked", "Asker", "Budget", "JudgeSettings", "Request", "Votes"]


class Request(NamedTuple):
    """One chat to be completed; `key` is handed back with the answer."""

    key: str
    messages: tuple[Message, ...]
    seed: int


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        key: as in the request.
        text: untouched; None where there is none.
        error: why there is none, without any text of the messages.
        finish: why it ended.
        prompt_tokens, completion_tokens: 0 where the engine does not count.
    """

    key: str
    text: str | None
    error: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


Answerer = Callable[[Iterable[Request]], Iterator[Answer]]  # draws requests as it needs them; one answer each, in any order


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How a question is put.

    Attributes:
        votes: pairs of calls a question; each pair asks both orders, so a question takes twice as many calls.
        attempts: how often a call is made at most, where its answers cannot be read.
        seed: of the run.

    Raises:
        ConfigError: a number under 1.
    """

    votes: int = 3
    attempts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.votes < 1 or self.attempts < 1:
            raise ConfigError(f"{self.votes} votes, {self.attempts} attempts: give 1 or more of each")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a folder may cost in all, everything counted that was ever asked there; None for no limit.

    Attributes:
        requests: calls.
        tokens: read and written together.
        cost: in the currency of the prices.
        price_read, price_written: of a million tokens.

    Raises:
        ConfigError: a negative number, or a cost without a price.
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price_read: float = 0.0
    price_written: float = 0.0

    def __post_init__(self) -> None:
        if any(number is not None and not number >= 0 for number in (self.requests, self.tokens, self.cost, self.price_read, self.price_written)):
            raise ConfigError("a budget or a price is negative: give 0 or more")
        if self.cost is not None and not self.price_read + self.price_written:
            raise ConfigError("a limit of the cost needs the price of a million tokens: give --price-read and --price-written")

    def allows(self, spent: Spent) -> bool:
        """Whether so much may be spent."""
        return (
            (self.requests is None or spent.requests <= self.requests)
            and (self.tokens is None or spent.read + spent.written <= self.tokens)
            and (self.cost is None or spent.cost(self.price_read, self.price_written) <= self.cost)
        )


class Slot(NamedTuple):
    """One vote on one question in one order."""

    question: Question
    vote: int
    swapped: bool


@dataclass(frozen=True, slots=True)
class Votes:
    """The answers to one question, seen from gold.

    Attributes:
        pairs: per vote: asked with gold first, asked with the prediction first; None where nothing was answered that can be read.
        problems: (reason, raw answer) of what could not be read in the end; see `answers.REASONS`.
        open: calls still to be made.
    """

    pairs: tuple[tuple[Relation | None, Relation | None], ...]
    problems: tuple[tuple[str, str], ...]
    open: int

    @property
    def cast(self) -> tuple[Relation, ...]:
        """All that can be read."""
        return tuple(vote for pair in self.pairs for vote in pair if vote is not None)


@dataclass(frozen=True, slots=True)
class Asked:
    """How asking ended.

    Attributes:
        capped: whether the budget stopped it.
        failures: requests that the engine did not answer; the same command asks them again.
        first_failure: why, of the first of them.
    """

    capped: bool
    failures: int
    first_failure: str = ""


class Asker:
    """Puts questions and remembers the answers.

    Args:
        log: what was answered before.
        settings: votes, attempts, seed.
        identity: who answers and how: engine, model, sampling; part of every key.
        examples: shown before every question.
        encode: see `questions.messages`.
        tokens: estimates the tokens of a chat.
        answer_tokens: the most an answer may have.
    """

    def __init__(
        self,
        log: AnswerLog,
        settings: JudgeSettings,
        identity: Mapping[str, object],
        *,
        examples: Sequence[Example] = (),
        encode: Encode | None = None,
        tokens: Callable[[Sequence[Message]], int] | None = None,
        answer_tokens: int = 512,
    ) -> None:
        self._log, self._settings, self._examples, self._encode = log, settings, examples, encode or json_line
        self._identity, self._engine, self._model = dict(identity), str(identity.get("engine", "")), str(identity.get("model", ""))
        self._tokens, self._answer_tokens = tokens or _by_length, answer_tokens
        self._rendered = lru_cache(maxsize=8)(self._render)  # the votes on a question come one after the other

    def messages(self, question: Question, swapped: bool = False) -> tuple[Message, ...]:
        """What is asked."""
        return self._rendered(question, swapped)[0]

    def left(self, questions: Sequence[Question]) -> Spent:
        """What is still to be asked at the least, at the most tokens an answer may have."""
        slots = (slot for slot in self._slots(questions) if self._next(slot) is not None)
        return sum((self._worst(self.messages(slot.question, slot.swapped)) for slot in slots), Spent())

    def ask(self, questions: Sequence[Question], answerer: Answerer, budget: Budget) -> Asked:
        """Ask until every slot of every question is decided, fails, or the budget is spent.

        Args:
            questions: distinct ones; all slots of one are asked before the next one's, so that a budget leaves whole questions.
            answerer: who answers.
            budget: of the folder.
        """
        meter = _Meter(budget, self._log.spent)
        failed: dict[str, str] = {}
        while True:
            asked = {request.key: (request, slot, attempt) for request, slot, attempt in self._requests(questions) if request.key not in failed}
            if not asked:
                break
            before = meter.spent.requests
            for answer in answerer(self._within(meter, [request for request, _, _ in asked.values()])):
                request, slot, attempt = asked[answer.key]
                self._settle(meter, request, slot, attempt, answer, failed)
            failed.update(dict.fromkeys(meter.forget(), "the engine ended without a reply"))
            if meter.spent.requests == before and not failed.keys() & asked.keys():
                return Asked(True, len(failed), next(iter(failed.values()), ""))
        return Asked(False, len(failed), next(iter(failed.values()), ""))

    def votes(self, question: Question) -> Votes:
        """What is known of a question."""
        pairs, problems, open_ = [], list[tuple[str, str]](), 0
        for vote in range(self._settings.votes):
            pair: list[Relation | None] = []
            for swapped in (False, True):
                relation, problem = self._read(Slot(question, vote, swapped))
                pair.append(relation)
                problems += [problem] if problem else []
                open_ += relation is None and problem is None
            pairs.append((pair[0], pair[1]))
        return Votes(tuple(pairs), tuple(problems), open_)

    def _slots(self, questions: Sequence[Question]) -> Iterator[Slot]:
        return (Slot(question, vote, swapped) for question in questions for vote in range(self._settings.votes) for swapped in (False, True))

    def _requests(self, questions: Sequence[Question]) -> Iterator[tuple[Request, Slot, int]]:
        for slot in self._slots(questions):
            found = self._next(slot)
            if found is not None:
                yield found[0], slot, found[1]

    def _next(self, slot: Slot) -> tuple[Request, int] | None:
        """The next request for a slot and its attempt's number; None where it is decided, or given up."""
        for attempt, request in self._attempts(slot):
            stored = self._log.get(request.key)
            if stored is None:
                return request, attempt
            if not isinstance(parse_answer(stored.text, stored.finish), Unparsable):
                return None
        return None

    def _read(self, slot: Slot) -> tuple[Relation | None, tuple[str, str] | None]:
        """The relation as seen from gold; or why the last attempt gave none; or neither while there are attempts left."""
        problem = None
        for _, request in self._attempts(slot):
            stored = self._log.get(request.key)
            if stored is None:
                return None, None
            relation = parse_answer(stored.text, stored.finish)
            if not isinstance(relation, Unparsable):
                return (turned(relation) if slot.swapped else relation), None
            problem = str(relation), stored.text
        return None, problem

    def _attempts(self, slot: Slot) -> Iterator[tuple[int, Request]]:
        chat, digest = self._rendered(slot.question, slot.swapped)
        for attempt in range(self._settings.attempts):
            seed = _number(self._settings.seed, slot.question.digest, slot.vote, slot.swapped, attempt)
            yield attempt, Request(_sha256(digest, self._identity, seed, slot.swapped), chat, seed)

    def _render(self, question: Question, swapped: bool) -> tuple[tuple[Message, ...], str]:
        chat = messages(question, swapped=swapped, examples=self._examples, encode=self._encode)
        return chat, _sha256(chat)

    def _worst(self, chat: Sequence[Message]) -> Spent:
        return Spent(1, self._tokens(chat), self._answer_tokens)

    def _within(self, meter: "_Meter", requests: Iterable[Request]) -> Iterator[Request]:
        """Requests as long as the budget holds, each booked at the most it can cost until its answer is there."""
        for request in requests:
            if not meter.book(request.key, self._worst(request.messages)):
                return
            yield request

    def _settle(self, meter: "_Meter", request: Request, slot: Slot, attempt: int, answer: Answer, failed: dict[str, str]) -> None:
        if answer.text is None:
            meter.settle(request.key, Spent())
            failed[request.key] = answer.error or "no answer"
            return
        took = Spent(1, answer.prompt_tokens or self._tokens(request.messages), answer.completion_tokens or self._tokens([Message("", answer.text)]))
        meter.settle(request.key, took)
        self._log.append(
            StoredAnswer(
                request.key, slot.question.digest, slot.vote, slot.swapped, attempt, self._model, self._engine, request.seed, answer.text, answer.finish,
                took.read, took.written,
            )
        )  # fmt: skip


@dataclass(slots=True)
class _Meter:
    """What was spent and what is booked; engines draw requests in a thread of their own."""

    budget: Budget
    spent: Spent
    _booked: dict[str, Spent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def book(self, key: str, most: Spent) -> bool:
        """Whether a request may be made that costs so much at the most; if so, it is booked."""
        with self._lock:
            if not self.budget.allows(sum(self._booked.values(), self.spent + most)):
                return False
            self._booked[key] = most
            return True

    def settle(self, key: str, took: Spent) -> None:
        """Exchange what was booked for what it took."""
        with self._lock:
            self._booked.pop(key, None)
            self.spent += took

    def forget(self) -> list[str]:
        """Take back what is booked and has no answer; the keys."""
        with self._lock:
            keys = list(self._booked)
            self._booked.clear()
            return keys


def _by_length(chat: Sequence[Message]) -> int:
    """Tokens by length: three code points each, and four a message for its marks."""
    return sum(4 + len(message.content) // 3 for message in chat)


def _sha256(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _number(*parts: object) -> int:
    return int(_sha256(*parts)[:12], 16)  # 48 bits
