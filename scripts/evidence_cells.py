"""One cell of scripts/evidence.py: a set prepared, an arm trained with a seed, its test documents decoded constrained and free."""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from evidence_sets import Bench, codes_of

from data_gen import NamesWriter, Surroundings, TemplateWriter, Writer
from data_gen import run as generate
from data_gen.folder import DOCUMENTS
from data_gen.planning import Plan, plan
from syncabel.baselines import Cascade, apply, standard_baselines
from syncabel.cli.training_documents import TrainingDocuments
from syncabel.config_files import find_config, read_config
from syncabel.corpora import read_jsonl
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError, SyncabelError
from syncabel.evaluate import Protocol, Seen, evaluate, scores_of
from syncabel.evaluate.strata import canonical_answers
from syncabel.groups import TypeMap
from syncabel.kb import KnowledgeBase
from syncabel.lexicon.build import build_lexicon
from syncabel.lexicon.store import Lexicon
from syncabel.linker import Linker
from syncabel.prompt import encode_names, format_named, prepare_tokenizer
from syncabel.sft import ExampleSettings, make_examples, write_examples, write_format
from syncabel.train.arguments import parse
from syncabel.train.run import train
from syncabel.train.scratch import train_tokenizer
from syncabel.types import Document, Mention, SFTExample, to_json

# Arm -> its source beside human documents.
ARMS = {
    "human": None, "human+names": "names", "human+template": "template", "human+template_preferred": "template_preferred",
    "human+template_matched": "template_matched", "human+template_mentions": "template_mentions", "human+written": "written", "human+others": "others",
}  # fmt: skip
WRITERS: Mapping[str, Writer] = {
    "names": NamesWriter(),
    "template": TemplateWriter(),
    "template_preferred": TemplateWriter(short_form_share=0.0, unchanged_share=1.0, defined_share=0.0, names="preferred"),
}
PLACES = ("tokenizer", "lexicon", "types", "human_examples", "synthetic_examples", "model_name_or_path")  # of a configuration: digests stand for them
MODES = ("constrained", "free")
TOLERANCE = 0.02  # loss tokens of arms may differ by so much: a batch is a whole number of examples, and sources' names differ in length


@dataclass(frozen=True)
class Options:
    """What decides the figures; all of it is in every cell's digest.

    Attributes:
        steps: optimizer steps of every arm.
        batch: examples a step of the arm `human`; the other arms get as many as make the same loss tokens.
        per_concept: names or sentences asked for per concept.
        hold_out: share of the concepts without human documents that is kept out of synthesis, and of the other corpora; a fraction.
        plan_seed: decides which.
        prompt_format, context_chars, document_chars: of the prompts.
        vocabulary, hidden_size, intermediate_size, num_layers, num_heads: of the Llama and its tokenizer.
        learning_rate: of all arms; not of a pretrained model, which takes its configuration's.
        model: a pretrained model folder instead, or None.
        beams: width of the constrained search.
        free_beams: of the free one; 1 writes greedily.
        free_tokens: most tokens of a free generation.
        protocol: what is right.
    """

    steps: int = 800
    batch: int = 32
    per_concept: int = 2
    hold_out: float = 0.25
    plan_seed: int = 0
    prompt_format: str = "document-first"
    context_chars: int = 25
    document_chars: int = 0
    vocabulary: int = 1000
    hidden_size: int = 160
    intermediate_size: int = 400
    num_layers: int = 3
    num_heads: int = 4
    learning_rate: float = 3e-3
    model: str | None = None
    beams: int = 5
    free_beams: int = 1
    free_tokens: int = 48
    protocol: Protocol = "set"

    @property
    def stated(self) -> dict[str, Any]:
        """As they are written down: the model without its place on this machine."""
        return {**asdict(self), "model": None if self.model is None else Path(self.model).name}

    @property
    def decoding(self) -> dict[str, DecodingSettings]:
        """How each mode searches."""
        free = DecodingSettings(constrained=False, num_beams=self.free_beams, max_new_tokens=self.free_tokens)
        return {"constrained": DecodingSettings(num_beams=self.beams), "free": free}


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: a set, an arm and a seed."""

    set: str
    arm: str
    seed: int

    def folder(self, output: Path) -> Path:
        """Where its predictions lie."""
        return output / self.set / self.arm / f"seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a cell's training was given.

    Attributes:
        steps: optimizer steps.
        loss_tokens: of all sources.
        sources: name -> examples, loss tokens, repeats.
        batch: examples a step.
        seconds: of training.
    """

    steps: int
    loss_tokens: int
    sources: Mapping[str, Mapping[str, float]]
    batch: int
    seconds: float


def unequal(ledgers: Mapping[str, Ledger], tolerance: float = TOLERANCE) -> list[str]:
    """Why arms cannot be compared: other steps than the first arm's, or loss tokens further from it than the tolerance; [] where they can.

    Args:
        ledgers: by arm or cell, the one that the others are held to first.
        tolerance: a fraction of its loss tokens.
    """
    (first, wanted), *others = ledgers.items()
    found = []
    for name, given in others:
        if given.steps != wanted.steps:
            found.append(f"{name}: {given.steps:,} optimizer steps, {first} {wanted.steps:,}")
        if abs(given.loss_tokens - wanted.loss_tokens) > tolerance * wanted.loss_tokens:
            found.append(f"{name}: {given.loss_tokens:,} loss tokens, {first} {wanted.loss_tokens:,}")
    return found


def ledger_of(run_folder: Path, batch: int) -> Ledger:
    """What run.json says that a training was given."""
    run = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    sides = {side["name"]: {key: side[key] for key in ("examples", "loss_tokens", "repeats")} for side in run["sources"]}
    result = run["result"]
    return Ledger(result["steps"], sum(int(side["loss_tokens"]) for side in sides.values()), sides, batch, round(result["seconds"], 1))


def batch_for(human: float, other: float | None, batch: int) -> int:
    """Examples a step that make the loss tokens of `batch` human ones when half of the loss tokens are another source's.

    Args:
        human, other: mean loss tokens of an example of each source; None where there is no second source.
        batch: examples a step of human documents alone.
    """
    return batch if other is None else max(2, round(batch * human * (0.5 / human + 0.5 / other)))


class Counted:
    """A set as its answers are counted: who has seen which concept, without texts, tokenizer or lexicon."""

    def __init__(self, bench: Bench, options: Options) -> None:
        self.bench, self.options = bench, options
        self.types = TypeMap.counted(bench.fit, lambda _code: bench.kb.groups, bench.kb.groups)
        human = codes_of(bench.fit, bench.kb)
        self.plan = self._plan(human)
        self.codes = tuple(code for code in self.plan.codes if bench.write_about is None or code in bench.write_about)
        self.seen = Seen(human=human, synthetic=frozenset(self.codes))
        self.sources: dict[str, tuple[Document, ...]] = {"human": bench.fit}
        if bench.others is not None:
            self.sources["others"] = tuple(self._planned(bench.others.documents))

    def _plan(self, human: frozenset[str]) -> Plan:
        """What synthesis writes about: concepts that the human documents do not have."""
        return plan(self.bench.kb, select="unseen", trained=human, hold_out=self.options.hold_out, seed=self.options.plan_seed)

    def _planned(self, documents: Iterable[Document]) -> Iterable[Document]:
        """Those of concepts in the plan; a document keeps such mentions only."""
        for document in documents:
            mentions = tuple(mention for mention in document.mentions if self._written_about(mention))
            if mentions:
                yield replace(document, mentions=mentions)

    def _written_about(self, mention: Mention) -> bool:
        return {self.bench.kb.canonical(code) for code in mention.codes} <= self.seen.synthetic

    def stratum(self, codes: Iterable[tuple[str, ...]]) -> str:
        """Where a mention's concept was to be seen: `human`, `synthetic_only`, or held out of synthesis: `neither`."""
        return self.seen.concept(canonical_answers(list(codes), self.bench.kb.canonical))

    def in_others(self) -> list[bool]:
        """Per scored mention, whether its concept has no human document in the fit and has some in the other corpora."""
        known = Seen(human=self.seen.human, synthetic=codes_of(self.sources.get("others", ()), self.bench.kb))
        scored = (mention.answers for document in self.bench.test for mention in document.mentions if mention.answers)
        return [known.concept(canonical_answers(answers, self.bench.kb.canonical)) == "synthetic_only" for answers in scored]


class Prepared(Counted):
    """A set with what all its cells share: tokenizer, lexicon, plan, documents of every source; made once, kept in a folder.

    Args:
        bench, options: the set and what decides the figures.
        folder: to keep it in.
        written: folder of a writer's sentences, if there is one.
        rebase: whether they may have been written for another knowledge base; what does not hold in the set's is left out.

    Raises:
        DigestMismatchError: they were, and may not.
    """

    def __init__(self, bench: Bench, options: Options, folder: Path, written: Path | None, rebase: bool = False) -> None:
        super().__init__(bench, options)
        self.folder = folder
        self.written = None if written is None else TrainingDocuments([written / DOCUMENTS], "auto", bench.kb, rebase)
        self.fmt = format_named(options.prompt_format, context_chars=options.context_chars, document_chars=options.document_chars)
        self.sources = self._documents()
        self.tokenizer = self._tokenizer()
        self.lexicon = self._lexicon()
        self._made: dict[tuple[int, str], tuple[Path, float, str]] = {}

    def _documents(self) -> dict[str, tuple[Document, ...]]:
        """Documents of each source; concepts held out are in none of them."""
        found = dict(self.sources)
        for name, writer in WRITERS.items():
            folder = self.folder / self._stamp() / name
            generate(self.bench.kb, writer, folder, per_concept=self.options.per_concept, seed=0, codes=self.codes)
            found[name] = read_jsonl(folder / "documents.jsonl").documents
        if self.written is not None:
            found["written"] = tuple(self._planned(self.written.synthetic()))
            found["template_matched"] = tuple(as_many(found["template"], found["written"], self.bench.kb))
            found["template_mentions"] = tuple(about_the_same(found["written"], self.bench.kb))
        return found

    @property
    def rebased(self) -> int:
        """How many of the writer's sentences were written for another knowledge base."""
        return 0 if self.written is None else self.written.rechecked

    def _stamp(self) -> str:
        asked = [self.bench.kb.digest, self.options.per_concept, self.options.hold_out, self.options.plan_seed, sorted(self.seen.human)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]

    def _tokenizer(self) -> Any:
        if self.options.model:
            from transformers import AutoTokenizer

            return prepare_tokenizer(AutoTokenizer.from_pretrained(self.options.model), self.fmt)
        # Of names and of what every arm reads, never of one arm's texts: all arms have the same tokenizer.
        names = [f" {name.text}" for concept in self.bench.kb.concepts() for name in concept.names]
        texts = [document.text for document in self.bench.fit]
        return prepare_tokenizer(train_tokenizer([*names, *texts], self.options.vocabulary), self.fmt)

    def _lexicon(self) -> Lexicon:
        """Built, and written beside its tokenizer unless it is there: another process may be training with it."""
        tokens, place = self.folder / "tokenizer", self.folder / "lexicon"
        lexicon = build_lexicon(self.bench.kb, self.tokenizer)
        if not _is_there(lexicon, place):
            for folder in (tokens, place):
                shutil.rmtree(folder, ignore_errors=True)
            self.tokenizer.save_pretrained(tokens)
            (self.folder / "types.json").write_text(json.dumps(dict(self.types.table)), encoding="utf-8")
            lexicon.save(place)
        return lexicon

    def examples(self, seed: int, source: str) -> tuple[Path, float, str]:
        """The examples of a source, its type dropout drawn by the seed: file, mean loss tokens, SHA-256."""
        if (seed, source) not in self._made:
            self._made[seed, source] = self._examples(seed, source)
        return self._made[seed, source]

    def _examples(self, seed: int, source: str) -> tuple[Path, float, str]:
        path = self.folder / f"seed-{seed}" / f"{source}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        documents = self.sources[source]
        made = make_examples(documents, self.lexicon, self.bench.kb.canonical, self.types, self.fmt, ExampleSettings(seed=seed))
        rows = [row for row in made if isinstance(row, SFTExample)]
        write_examples(rows, path)
        write_format(path.parent, self.fmt, self.lexicon, self.bench.kb.digest if self.rebased else None)
        lengths = dict(zip(names := sorted({row.completion for row in rows}), map(len, encode_names(names, self.tokenizer)), strict=True))
        return path, sum(lengths[row.completion] for row in rows) / len(rows), hashlib.sha256(path.read_bytes()).hexdigest()


def as_many(documents: Iterable[Document], wanted: Iterable[Document], kb: KnowledgeBase) -> Iterator[Document]:
    """The first documents of each concept, as many as another source has of it (or all, where it has more): two writers at one dose.

    Args:
        documents: to choose from, each of one concept.
        wanted: of the other source, each of one concept.
        kb: whose codes count as one concept.
    """
    left = Counter(concept for document in wanted for concept in codes_of([document], kb))
    for document in documents:
        (concept,) = codes_of([document], kb)
        if left[concept] > 0:
            left[concept] -= 1
            yield document


def about_the_same(documents: Iterable[Document], kb: KnowledgeBase) -> Iterator[Document]:
    """A template sentence for each document of another writer, with its mention: they differ in wording alone.

    The mention is the same but for a capital that the beginning of a sentence gives it.

    Args:
        documents: each with one mention of one concept.
        kb: that the codes are of.
    """
    writer, surroundings = TemplateWriter(), Surroundings(kb)
    for number, document in enumerate(documents):
        (mention,), (code,) = document.mentions, codes_of([document], kb)
        concept = kb.concept(code)
        (request,) = writer.requests(concept, surroundings.of(concept), 1, seed=0, first=number)
        made = writer.parse(writer.sentence_with(mention.text, request), concept, request.context)
        yield from (sentence for sentence in made if isinstance(sentence, Document))


def _is_there(lexicon: Lexicon, folder: Path) -> bool:
    try:
        return folder.exists() and Lexicon.load(folder).digest == lexicon.digest
    except SyncabelError:  # a kill may have left half of it
        return False


def cells_of(sets: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """In the order they are run: set by set, and in each all arms of a seed before the next seed, so that whole comparisons are there early."""
    return [Cell(name, arm, seed) for name in sets for seed in seeds for arm in arms]


def run_cell(cell: Cell, prepared: Prepared, output: Path, keep_models: bool = False) -> bool:
    """Train and decode one cell, unless its folder holds it with the same settings.

    Returns:
        Whether it was run.

    Raises:
        ConfigError: the training was not given the steps that the cell asks for.
    """
    folder, options = cell.folder(output), prepared.options
    second = ARMS[cell.arm]
    human, human_tokens, human_digest = prepared.examples(cell.seed, "human")
    other, other_tokens, other_digest = prepared.examples(cell.seed, second) if second else (None, None, None)
    batch = batch_for(human_tokens, other_tokens, options.batch)
    training = training_config(cell, prepared, human, other, batch)
    settings = {
        "cell": asdict(cell), "training": {key: value for key, value in training.items() if key not in PLACES}, "options": options.stated, "batch": batch,
        "kb": prepared.bench.kb.digest, "lexicon": prepared.lexicon.digest, "human": human_digest, "other": other_digest,
        "test": [document.id for document in prepared.bench.test], "plan": hashlib.sha256(json.dumps(prepared.plan.held_out).encode()).hexdigest(),
    }  # fmt: skip
    return run_once(folder, prepared, training, settings, keep_models)


def run_once(folder: Path, prepared: Prepared, training: Mapping[str, Any], settings: Mapping[str, Any], keep_models: bool = False) -> bool:
    """Train and decode into a folder, unless it holds what the same settings gave.

    Args:
        folder: of predictions, scores and cell.json; emptied first.
        prepared: the set.
        training: the training's configuration.
        settings: all that decides the figures, `options` and `batch` among it; their digest is the mark of what is there.
        keep_models: leave the run and the model.

    Returns:
        Whether it was run.

    Raises:
        ConfigError: the training was not given the steps that were asked for.
    """
    options, batch = prepared.options, settings["batch"]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if (done := read_cell(folder, options)) is not None and done["digest"] == digest:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(dict(training), sort_keys=False), encoding="utf-8")
    train(parse(["--config", str(config), "--output_dir", str(folder / "run"), "--model_folder", str(folder / "model")]))
    ledger = ledger_of(folder / "run", batch)
    if ledger.steps != options.steps:
        raise ConfigError(f"{folder}: {ledger.steps} optimizer steps were made, {options.steps} asked for")
    decode(prepared, folder, {"digest": digest, "settings": settings, "ledger": asdict(ledger)})
    if not keep_models:
        for part in ("run", "model"):
            shutil.rmtree(folder / part, ignore_errors=True)
    return True


def read_cell(folder: Path, options: Options) -> dict[str, Any] | None:
    """A finished cell; None where it is not finished, or was run with other options."""
    path = folder / "cell.json"
    cell = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return cell if cell is not None and cell["settings"]["options"] == options.stated else None


def training_config(cell: Cell, prepared: Prepared, human: Path, other: Path | None, batch: int) -> dict[str, Any]:
    """The quickstart's configuration, or SmolLM2's, with this grid's files and budget; no dev documents: the last checkpoint is the model."""
    options, data = prepared.options, prepared.folder
    base = read_config(find_config("smollm2-135m" if options.model else "tiny-cpu", "sft"))
    config = {key: value for key, value in base.items() if key not in ("synthetic_examples", "dev_documents", "mix", "output_dir", "model_folder")}
    config |= {
        "tokenizer": str(data / "tokenizer"), "lexicon": str(data / "lexicon"), "types": str(data / "types.json"), "human_examples": str(human),
        "prompt_format": options.prompt_format, "context_chars": options.context_chars, "document_chars": options.document_chars, "seed": cell.seed,
        "max_steps": options.steps, "per_device_train_batch_size": batch, "gradient_accumulation_steps": 1, "max_repeats": 1000,
        "packing": False, "bucket_batches": 16, "save_strategy": "no", "eval_strategy": "no", "logging_steps": 50, "disable_tqdm": True, "licence": "other",
    }  # fmt: skip
    if options.model:
        config["model_name_or_path"] = options.model
    else:
        config |= {name: getattr(options, name) for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads", "learning_rate")}
    return {**config, **({"synthetic_examples": str(other), "mix": "1:1"} if other else {})}


def decode(prepared: Prepared, folder: Path, facts: dict[str, Any]) -> None:
    """Predictions of both modes as JSON Lines, each mention's scores beside them, and cell.json last: with it the cell is there."""
    bench, options = prepared.bench, prepared.options
    scores: dict[str, list[float]] = {}
    facts["misses"], facts["decode_seconds"] = {}, {}
    documents: list[str] = []
    for mode, settings in options.decoding.items():
        started = time.perf_counter()
        found = apply(Linker.from_pretrained(folder / "model", settings), bench.test, prepared.types.of, k=5)
        facts["decode_seconds"][mode] = round(time.perf_counter() - started, 1)
        _write_lines((to_json(linked) for linked in found), folder / f"{mode}.jsonl")
        report = evaluate(bench.test, found, bench.kb, protocol=options.protocol, rounds=1)
        facts["misses"][mode] = {cause: line.n for cause, line in report.ledger.items()}
        documents, scores[mode] = scores_of(bench.test, found, bench.kb, options.protocol)
    facts["n"] = len(documents)
    rows = [
        {"document": document, **{mode: scores[mode][i] for mode in MODES}, "stratum": stratum}
        for i, (document, stratum) in enumerate(zip(documents, strata_of(prepared), strict=True))
    ]
    _write_lines(rows, folder / "scores.jsonl")
    written = folder / "cell.json.tmp"
    written.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    os.replace(written, folder / "cell.json")


def _write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def strata_of(prepared: Counted) -> list[str]:
    """The stratum of every scored mention, in document order."""
    return [prepared.stratum(mention.answers) for document in prepared.bench.test for mention in document.mentions if mention.answers]


def baselines(prepared: Counted, fit: Sequence[Document] | None = None) -> dict[str, Any]:
    """Scores per mention of the baselines, fitted on what every arm has of human documents (or on `fit`); the text's own words for each."""
    bench, protocol = prepared.bench, prepared.options.protocol
    found: dict[str, Any] = {"stratum": strata_of(prepared)}
    for long_forms in (False, True):
        all_of = standard_baselines(bench.kb, bench.fit if fit is None else fit, long_forms, names=("dictionary", "exact", "cascade"))
        rankers = {"dictionary_then_exact": Cascade((all_of["dictionary"], all_of["exact"])), "with_tfidf": all_of["cascade"]}
        for name, ranker in rankers.items():
            linked = apply(ranker, bench.test, prepared.types.of)
            documents, scores = scores_of(bench.test, linked, bench.kb, protocol)
            found[f"{name}_long_forms" if long_forms else name] = scores
            found["document"] = documents
    return found
