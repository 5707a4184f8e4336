"""One judging, put together from what was given on the command line: the parts of `syncabel.judge` and an engine of `data_gen.chat`."""

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_gen.chat.engine import Call, ChatEngine
from data_gen.journal import locked
from data_gen.prompts import estimated_tokens
from data_gen.prompts.data import encoded
from data_gen.shots import is_shareable, refuse_private
from data_gen.writer import Message as ChatMessage
from syncabel import __version__
from syncabel.cli.console import tracked
from syncabel.cli.engine_options import EngineOptions
from syncabel.cli.reading import documents_of
from syncabel.cli.writers import CHAT
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.evaluate.linked import aligned, read_linked
from syncabel.judge import (
    Answer,
    AnswerLog,
    Asked,
    Asker,
    Budget,
    Cases,
    Judgement,
    JudgeSettings,
    Labelled,
    Message,
    Question,
    Request,
    Votes,
    answer_schema,
    cases_of,
    examples_of,
    judgement_of,
    read_labels,
    read_shots,
    refuse_leaks,
    rejections_of,
    summary,
)
from syncabel.kb import KnowledgeBase
from syncabel.types import Document, to_json

__all__ = ["FORMAT", "Judging", "Order"]

FORMAT = "syncabel.judge/1"
RAW, ANSWERS, QUESTIONS = "raw", "answers.jsonl", "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Order:
    """What is judged, and where it is written; each is an option of that name."""

    documents: Path
    predictions: Path
    kb: str
    output: Path
    shots: Path | None
    human: Path | None
    shareable: bool


class Judging:
    """One judging.

    Args:
        order: what is judged.
        engine: name of what runs the model.
        options: of the engine.
        settings: votes, attempts, seed.
        budget: of the folder.

    Raises:
        ConfigError: settings that contradict each other; text that would leave this machine and may not; an example from what is judged.
    """

    def __init__(self, order: Order, engine: str, options: EngineOptions, settings: JudgeSettings, budget: Budget) -> None:
        self._order, self._name, self._options, self._settings, self._budget = order, engine, options, settings, budget
        if engine not in CHAT:
            raise UnknownNameError("engine", engine, CHAT)
        if settings.votes > 1 and not options.temperature:
            raise ConfigError(f"--votes {settings.votes} at temperature 0 are one vote asked often; give --votes 1, or a temperature above 0")
        self._engine: ChatEngine = CHAT[engine](options, answer_schema())
        # Examples are of a corpus, too; that the documents are an official, shareable file says nothing of theirs.
        shareable = order.shareable or (order.shots is None and is_shareable([order.documents]))
        refuse_private(shareable=shareable, local=self._engine.local, where=str(order.documents))
        self._kb = KnowledgeBase.load(order.kb)
        documents = documents_of([order.documents])
        self._cases = _cases(documents, order.predictions, self._kb)
        self._human = None if order.human is None else _human(order.human, self._cases)
        shots = [] if order.shots is None else read_shots(order.shots)
        refuse_leaks(shots, documents, order.shots or "")
        self._examples = examples_of(shots, self._kb)

    @cached_property
    def questions(self) -> list[Question]:
        """The distinct ones, in the order of their mentions."""
        return list({question.digest: question for case in self._cases.cases for question in case.questions}.values())

    def messages(self, question: Question) -> tuple[Message, ...]:
        """What is asked, gold first."""
        with AnswerLog(self._answers) as log:
            return self._asker(log).messages(question)

    def plan(self) -> dict[str, Any]:
        """What is left to ask; nobody is asked and nothing is written."""
        with AnswerLog(self._answers) as log:
            return {**self._facts, "how": self._how, "questions": len(self.questions), **self._cost(log)}

    def run(self) -> tuple[Asked, dict[str, Any]]:
        """Ask what is left, as far as the budget goes, and write the folder.

        Returns:
            How asking ended, and the summary.
        """
        output = self._order.output
        with locked(output / RAW), AnswerLog(self._answers) as log:
            asker = self._asker(log)
            _write(output / RAW / QUESTIONS, ({"question": one.digest, "messages": [m._asdict() for m in asker.messages(one)]} for one in self.questions))
            asked = asker.ask(self.questions, self._answer, self._budget)
            heard = {question.digest: asker.votes(question) for question in self.questions}
            judgements = [judgement_of(case, lambda question: heard[question.digest]) for case in self._cases.cases]
            figures = self._figures(judgements, list(heard.values()), log)
            _write(output / "labels.jsonl", map(to_json, judgements))
            _write(output / "rejected.jsonl", map(to_json, rejections_of(self._cases.cases, lambda question: heard[question.digest])))
            _write(output / "summary.json", [figures], indent=1)
        return asked, figures

    def _figures(self, judgements: Sequence[Judgement], votes: Sequence[Votes], log: AnswerLog) -> dict[str, Any]:
        figures, sampling = summary(judgements, votes, self._human), asdict(self._engine.sampling)
        who = {"engine": self._name, "model": self._engine.model, "sampling": sampling, **asdict(self._settings), "examples": len(self._examples)}
        made = {"kb_digest": self._kb.digest, "version": __version__, "command": shlex.join(["syncabel", *sys.argv[1:]])}
        return {"format": FORMAT, **self._facts, **figures, "judge": who, **self._cost(log), **made}

    def _cost(self, log: AnswerLog) -> dict[str, Any]:
        budget, left, spent = self._budget, self._asker(log).left(self.questions), log.spent
        costs = (round(one.cost(budget.price_read, budget.price_written), 6) for one in (spent, left))
        return {"spent": asdict(spent), "left": asdict(left), **dict(zip(("spent_cost", "left_cost"), costs, strict=True))}

    @property
    def _facts(self) -> dict[str, Any]:
        return {"n": len(self._cases.cases), "nil": self._cases.nil, "unannotated": self._cases.unannotated}

    @property
    def _how(self) -> dict[str, int]:
        how = [case.how for case in self._cases.cases]
        return {name: how.count(name) for name in dict.fromkeys(how)}

    @property
    def _answers(self) -> Path:
        return self._order.output / RAW / ANSWERS

    def _asker(self, log: AnswerLog) -> Asker:
        engine, options = self._engine, self._options
        identity = {"engine": self._name, "model": engine.model, "structured": options.structured, **asdict(engine.sampling)}
        return Asker(log, self._settings, identity, examples=self._examples, encode=encoded, tokens=_tokens, answer_tokens=engine.sampling.max_tokens)

    def _answer(self, requests: Iterable[Request]) -> Iterator[Answer]:
        calls = (Call(request.key, _chat(request.messages), request.seed) for request in requests)
        for reply in tracked(self._engine.replies(calls), "answers"):
            yield Answer(str(reply.key), reply.text, reply.error, reply.finish, reply.prompt_tokens, reply.completion_tokens)


def _cases(documents: Sequence[Document], predictions: Path, kb: KnowledgeBase) -> Cases:
    linked = aligned(documents, read_linked(predictions), predictions)  # here, for its errors name the line
    return cases_of(documents, list(linked.values()), kb)


def _human(path: Path, cases: Cases) -> dict[tuple[str, ...], Labelled]:
    labels = read_labels(path)
    if not any((case.document_id, case.mention_id) in labels for case in cases.cases):
        raise ConfigError(f"{path}: none of its {len(labels)} labels is of a mention that is judged; give their document_id and mention_id")
    return labels


def _chat(messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage("system" if message.role == "system" else "user", message.content) for message in messages)


def _tokens(messages: Sequence[Message]) -> int:
    return estimated_tokens(_chat(messages))


def _write(path: Path, rows: Iterable[Any], indent: int | None = None) -> None:
    """One JSON value a line, in the file's place only when it is whole; half a surrogate becomes an escape, as JSON knows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False, indent=indent, allow_nan=False) + "\n" for row in rows)
    os.replace(beside, path)
