"""The parts of a generation, put together from what was given on the command line."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml

from data_gen import Manifest, Request, Surroundings, TemplateWriter, Writer, reparse, run, shared_short_forms
from data_gen.gates import GateSettings, Judge, Scorer, template_judge
from data_gen.gates.overlap import HeldOut
from data_gen.planning import Budget, Cost, Estimate, Plan, Select, confusability, estimate, expected_use, plan
from data_gen.relinking import Relinker
from data_gen.writer import Message, Related, Shot
from syncabel.cli.console import err, tracked
from syncabel.cli.engine_options import EngineOptions
from syncabel.cli.writers import CHAT, OFFLINE, chat_writer, stored_writer
from syncabel.corpora import read_corpus
from syncabel.errors import ConfigError, FormatError, UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.lines import text_lines
from syncabel.types import Concept, Document, Mention, Query, Ranker, Span

if TYPE_CHECKING:
    from data_gen.prompts import PromptSettings

__all__ = ["Order", "Work"]

T = TypeVar("T")

PRICED = 200  # concepts whose prompts are rendered for an estimate
RELINK_TOKENS = 400  # of a prompt of the blind re-link
SENTENCE_TOKENS = 60  # of an answer, its share of JSON included
WORDS_IN_COMMON = 4
NEAREST = 5  # other concepts that the blind re-link may choose
_AT_ONCE = 512  # names looked up together


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written about, and what the writer is told; each is an option of that name."""

    output: Path
    writer: str
    per_concept: int
    seed: int
    select: str
    concepts: int | None
    codes: Path | None
    hold_out: float
    budget_requests: int | None
    budget_tokens: int | None
    train: list[Path] | None
    texts: list[Path] | None
    held_out: list[Path] | None
    shots: int
    shareable: bool
    confusable: int
    template: list[str] | None
    language: str
    prompt: list[str] | None
    gate: list[str] | None
    without_gate: list[str] | None
    relink: bool


class Work:
    """One generation.

    Args:
        kb: the knowledge base.
        order: what is to be written about, and what the writer is told.
        engine: of a language model.
        scored: whether scores are recorded.
        rounds: see `data_gen.run`.
        stored: whether stored answers are only read again.
    """

    def __init__(self, kb: KnowledgeBase, order: Order, engine: EngineOptions, *, scored: bool, rounds: int, stored: bool) -> None:
        self._kb, self._order, self._engine, self._scored, self._rounds, self._stored = kb, order, engine, scored, rounds, stored
        self._chat = order.writer in CHAT
        self._refuse_strange_options()

    def run(self, *, ask: bool) -> Manifest:
        """Generate, or go on; without asking, take the answers there are."""
        order = self._order
        return run(
            self._kb, self.writer, order.output, per_concept=order.per_concept, seed=order.seed, codes=self.codes, surroundings=self._surroundings,
            gates=self._judge(), scorer=self._scorer, relinker=self._relinker, rounds=self._rounds, facts=self._facts, ask=ask,
            progress=lambda left: tracked(left, "concepts"),
        )  # fmt: skip

    def again(self) -> Manifest:
        """Parse and judge the stored answers of a finished folder."""
        order = self._order
        return reparse(
            self._kb, self.writer, order.output, per_concept=order.per_concept, seed=order.seed, codes=self.codes, surroundings=self._surroundings,
            gates=self._judge(), scorer=self._scorer, relinker=self._relinker, rounds=self._rounds, facts=self._facts,
        )  # fmt: skip

    @property
    def _facts(self) -> dict[str, object]:
        """What whoever publishes has to know of a folder."""
        if not self._chat:
            return {}
        examples = "none" if not self._shots else "shareable" if self._shareable else "private"
        return {"gates_off": sorted(self._gates.off), "style_examples": examples, "held_out_documents": len(self._held_out)}

    def is_private(self, text: str) -> bool:
        """Whether a rejected text may repeat a style example that stays on this machine: it has some words in a row in common with one."""
        if self._shareable or not self._shots or not text.strip():
            return False
        return self._private.overlap(Document("rejected", text)) is not None

    def prompts(self, most: int) -> Iterator[tuple[str, Sequence[Message]]]:
        """The first prompt of the first concepts; none for a writer without a model."""
        first = (request for code in self.codes for request in self._requests(code, self._surroundings)[:1] if request.messages)
        return ((request.concept.code, request.messages) for request in islice(first, most))

    def estimate(self, tokens_per_s: float) -> Estimate:
        """What the chosen concepts cost, from the prompts of some of them."""
        some = random.Random(self._order.seed).sample(self.codes, min(PRICED, len(self.codes)))
        return estimate([self._cost(code, self._surroundings) for code in some], len(self.codes), tokens_per_s)

    @cached_property
    def writer(self) -> Writer:
        """Who writes."""
        name = self._order.writer
        if self._prompts is None:
            return _settings(TemplateWriter, {}, self._order.template, "--template") if name == "template" else OFFLINE[name]()
        return stored_writer(name, self._engine, self._prompts) if self._stored else chat_writer(name, self._engine, self._prompts, self._shareable)

    @cached_property
    def plan(self) -> Plan:
        """Which concepts, in which order."""
        order, known = self._order, {code for document in self._train for mention in document.mentions for code in mention.codes}
        budget = None
        if order.budget_requests is not None or order.budget_tokens is not None:
            budget = Budget(order.budget_requests, order.budget_tokens)
        ranked = order.select == "budget"
        return plan(
            self._kb, select=_selection(order.select), trained=known, hold_out=order.hold_out, seed=order.seed, per_concept=order.per_concept, budget=budget,
            use=expected_use(self._kb, self._lines()) if ranked else None, confusability=confusability(self._kb) if ranked else None,
            cost=lambda _: self._typical_cost if ranked else Cost(self.writer.calls(order.per_concept)),
        )  # fmt: skip

    @cached_property
    def codes(self) -> list[str]:
        """The concepts to write about, in order."""
        order = self._order
        if order.codes is not None:
            return _codes_of(order.codes)
        planned = self.plan.codes
        if order.concepts is None:
            return list(planned)
        if not 1 <= order.concepts <= len(planned):
            raise ConfigError(f"--concepts {order.concepts}: there are {len(planned):,} to choose from; give 1 to {len(planned)}")
        drawn = set(random.Random(order.seed).sample(planned, order.concepts))
        return [code for code in planned if code in drawn]

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """The first group of each concept written about."""
        return {code: self._kb[code].groups[0] for code in self.codes if code in self._kb}

    def _refuse_strange_options(self) -> None:
        order = self._order
        if order.concepts is not None and order.codes is not None:
            raise ConfigError("--concepts and --codes both choose the concepts; give one of them")
        if order.codes is not None and (order.select != "all" or order.hold_out or order.budget_requests or order.budget_tokens):
            raise ConfigError("--codes names the concepts; leave --select, --hold-out and the budget out")
        if order.texts and order.select != "budget":
            raise ConfigError("--texts counts how often concepts are named, for --select budget; give that, or leave it out")
        if order.template and order.writer != "template":
            raise ConfigError(f"--template is for --writer template, not {order.writer}; leave it out")
        if self._chat:
            self._gates  # noqa: B018 - a dry run shall refuse what a run would
            return
        for_models = {
            "prompt": order.prompt, "gate": order.gate, "without-gate": order.without_gate, "held-out": order.held_out, "relink": order.relink,
            "shareable": order.shareable, "model": self._engine.model, "language": order.language != "en",
            "train": order.train if order.select == "all" and not order.hold_out else None,
        }  # fmt: skip
        if strange := next((name for name, given in for_models.items() if given), None):
            raise ConfigError(f"--{strange} is for a language model, and --writer {order.writer} has none; leave it out, or give another writer")

    @cached_property
    def _prompts(self) -> "PromptSettings | None":
        if not self._chat:
            return None
        from data_gen.prompts import PromptSettings

        return _settings(PromptSettings, {"language": self._order.language}, self._order.prompt, "--prompt")

    @cached_property
    def _gates(self) -> GateSettings:
        off = tuple(self._order.without_gate or ())
        return _settings(GateSettings, {"language": self._order.language, "off": off, "cap": self._order.per_concept}, self._order.gate, "--gate")

    def _judge(self) -> Judge:
        if self._prompts is None:
            return template_judge(self._kb)
        from data_gen.chat.styles import style_of

        return Judge.of(self._kb, self._gates, self._held_out, style_of(self._prompts).shown)

    @cached_property
    def _ranker(self) -> Ranker:
        from syncabel.baselines import CharTfidf

        return CharTfidf(self._kb)

    @cached_property
    def _scorer(self) -> Scorer | None:
        return Scorer(self._kb, self._ranker) if self._scored else None

    @cached_property
    def _relinker(self) -> Relinker | None:
        if not self._order.relink:
            return None
        return Relinker(self._kb, self.writer.engine, self._nearest(NEAREST), self._order.language)  # type: ignore[attr-defined] # a chat writer's

    @cached_property
    def _surroundings(self) -> Surroundings:
        # Over the whole knowledge base, so that a concept's sentences are the same whatever else is chosen.
        shared = shared_short_forms(self._kb, self._kb.codes)
        if not self._chat:
            return Surroundings(self._kb, short_forms=shared)
        nearest, held = self._nearest(self._order.confusable), frozenset(self.plan.held_out if self._order.codes is None else ())
        return Surroundings(self._kb, short_forms=shared, relatives=True, confusable=nearest, shots=self._shots, held_out=held)

    def _nearest(self, k: int) -> Mapping[str, tuple[Related, ...]]:
        """The nearest names of other concepts; looked up once, for what is told and for what is asked."""
        most = max(self._order.confusable, NEAREST if self._order.relink else 0)
        return {code: others[:k] for code, others in self._nearest_names(most).items()} if k > 0 else {}

    @cache  # noqa: B019 - one object a command
    def _nearest_names(self, k: int) -> dict[str, tuple[Related, ...]]:
        return _nearest(self._kb, self.codes, self._ranker, k)

    @cached_property
    def _shots(self) -> Mapping[str, tuple[Shot, ...]]:
        order = self._order
        if not self._chat or not self._train or order.shots < 1:
            return {}
        from data_gen.shots import style_examples

        local = self.writer.engine.local  # type: ignore[attr-defined] # a chat writer's
        where = ", ".join(map(str, order.train or ()))
        return style_examples(self._train, self._kb, order.shots, order.seed, shareable=self._shareable, local=local, language=order.language, where=where)

    @cached_property
    def _private(self) -> HeldOut:
        return HeldOut([Document(f"{group} {i}", shot.text) for group, shots in self._shots.items() for i, shot in enumerate(shots)], WORDS_IN_COMMON)

    @cached_property
    def _shareable(self) -> bool:
        from data_gen.shots import is_shareable

        return self._order.shareable or is_shareable(self._order.train or ())

    @cached_property
    def _train(self) -> tuple[Document, ...]:
        return _as_training(_documents(self._order.train, "train"), ", ".join(map(str, self._order.train or ())))

    @cached_property
    def _held_out(self) -> tuple[Document, ...]:
        return _documents(self._order.held_out, "held-out")

    def _lines(self) -> Iterator[str]:
        return (line for path in self._order.texts or () for _, line in text_lines(path))

    def _requests(self, code: str, around: Surroundings) -> list[Request]:
        concept = self._kb.concept(code)
        return self.writer.requests(concept, around.of(concept), self._order.per_concept, self._order.seed)

    def _cost(self, code: str, around: Surroundings) -> Cost:
        asked = self._requests(code, around)
        if not self._chat:
            return Cost(len(asked))
        from data_gen.prompts import estimated_tokens

        read = sum(estimated_tokens(request.messages, language=self._order.language) for request in asked)
        return Cost(len(asked), read, sum(SENTENCE_TOKENS * request.sentences for request in asked))

    @cached_property
    def _typical_cost(self) -> Cost:
        """The most one concept may cost, all rounds and the re-link included.

        The mean over some, without what is only looked up for those chosen: rendering every prompt costs more than it tells.
        """
        order = self._order
        some = random.Random(order.seed).sample(self._kb.codes, min(PRICED, len(self._kb)))
        around = Surroundings(self._kb, relatives=self._chat)
        costs = [self._cost(code, around) for code in some]
        columns = zip(*((cost.requests, cost.prompt_tokens, cost.completion_tokens) for cost in costs), strict=True)
        requests, read, written = (round(sum(column) / len(costs)) * (1 + self._rounds) for column in columns)
        asked = order.per_concept if order.relink else 0
        return Cost(requests + asked, read + asked * RELINK_TOKENS, written + asked)


def _documents(paths: Sequence[Path] | None, what: str) -> tuple[Document, ...]:
    """The documents of some files; what cannot be read is said, for it may be what was to be kept out."""
    if not paths:
        return ()
    read = read_corpus(list(paths))
    if read.rejections:
        err.print(f"--{what}: {len(read.rejections):,} of {read.rows_read:,} rows cannot be read and are left out; see `syncabel corpus check`")
    return read.documents


def _as_training(documents: Sequence[Document], where: str) -> tuple[Document, ...]:
    """Documents of split train; those that state none are taken at the word of whoever gives them as training documents.

    Raises:
        ConfigError: a document is of another split: an official file is known by its content, whatever it is called.
    """
    strange = next((document for document in documents if document.split not in (None, "train")), None)
    if strange is not None:
        raise ConfigError(f"{where}: document {strange.id} is of split {strange.split!r}; give training documents only")
    return tuple(replace(document, split="train") for document in documents)


def _selection(name: str) -> Select:
    for known in get_args(Select):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise UnknownNameError("selection", name, get_args(Select))


def _codes_of(path: Path) -> list[str]:
    found = [line.strip() for _, line in text_lines(path) if line.strip()]
    if not found:
        raise FormatError("holds no code", path, hint="write one code a line")
    return found


def _settings(kind: type[T], fixed: Mapping[str, Any], given: Sequence[str] | None, option: str) -> T:
    """Settings with what was given as name=value; each value is read as YAML."""
    known = {field.name: field.default for field in fields(kind) if field.init and field.name not in fixed}  # type: ignore[arg-type]
    values = dict(fixed)
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{option} {pair}: give name=value, e.g. {next(iter(known))}=…")
        if name not in known:
            raise UnknownNameError(f"setting of {option}", name, known)
        values[name] = _value(f"{option} {pair}", value, known[name])
    return kind(**values)


def _value(given: str, text: str, default: object) -> Any:
    """A value of the type of the default."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ConfigError(f"{given}: the value should be like {list(default) if isinstance(default, tuple) else default!r}")
    return value


def _nearest(kb: KnowledgeBase, codes: Sequence[str], ranker: Ranker, k: int) -> dict[str, tuple[Related, ...]]:
    """The nearest names of other concepts to each concept's preferred name."""
    found = {}
    for start in range(0, len(codes), _AT_ONCE):
        concepts = [kb.concept(code) for code in codes[start : start + _AT_ONCE]]
        ranked = ranker.rank([_query(concept) for concept in concepts], k + 1)
        for concept, predictions in zip(concepts, ranked, strict=True):
            others = (Related(prediction.code, prediction.name) for prediction in predictions if concept.code not in prediction.codes)
            found[concept.code] = tuple(others)[:k]
    return found


def _query(concept: Concept) -> Query:
    name = concept.preferred_name
    mention = Mention("m0", (Span(0, len(name)),), name)
    return Query(Document(concept.code, name, (mention,)), mention)
