"""The whole road on one CPU: a knowledge base and a corpus in, a fine-tuned model and codes out.  Read `run` top to bottom.

    out/quickstart/data/    knowledge base, documents, tokenizer, lexicon, training examples, test documents
    out/quickstart/run/     checkpoints
    out/quickstart/model/   the finished model
    out/quickstart/predictions/, report.json, report.md

The knowledge base is a subset of the Human Disease Ontology with some synonyms held out of everything; human annotation
is played by demo sentences written for this project.
"""

import json
import math
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data_gen import TemplateWriter, generate_documents, shared_short_forms
from data_gen import run as generate
from syncabel.baselines import apply, standard_baselines
from syncabel.corpora import read_jsonl, write_jsonl, write_rejections
from syncabel.digests import file_sha256
from syncabel.errors import ConfigError
from syncabel.evaluate import evaluate
from syncabel.groups import TypeMap
from syncabel.kb import About, KnowledgeBase
from syncabel.lexicon.store import Lexicon
from syncabel.memory import peak_memory_bytes
from syncabel.prompt import PromptFormat, format_named, format_to_config, prepare_tokenizer
from syncabel.sft import ExampleSettings, make_examples, write_examples, write_format
from syncabel.text import fold
from syncabel.types import Concept, Document, LinkedMention, Name, Ranker, Rejection, SFTExample, to_json

if TYPE_CHECKING:
    from syncabel.train.run import Result

__all__ = ["SYSTEMS", "TESTS", "QuickstartSettings", "run"]

TESTS = ("known_perturbed", "unseen_synonyms", "shared_short_forms", "demo_sentences")
SOURCES = ("human", "synthetic")
SYSTEMS = ("constrained", "free", "dictionary", "exact", "tfidf", "cascade")
FILES = {"tokenizer": "", "lexicon": "", "human_examples": ".jsonl", "synthetic_examples": ".jsonl", "types": ".json"}  # argument -> ending
MARKER = ".syncabel-quickstart"  # only folders that hold it are ever emptied
CONTEXT_CHARS = 80  # on either side of a mention: enough to tell namesakes apart, and half of the tokens of whole sentences
CONTEXT_DROPOUT = 0.6  # a prompt without its sentence teaches a name at half the tokens
FEWEST = 20  # concepts: with fewer there is nothing to tell apart
LONGEST_NAME = 32  # code points; longer names only make the demonstration slower


@dataclass(frozen=True, slots=True)
class QuickstartSettings:
    """What the quickstart does.

    Attributes:
        kb: a knowledge base folder or a shipped name.
        concepts: size of the subset that is linked to.
        per_concept: synthetic sentences asked for per concept.
        held_out: synonyms held out of knowledge base and training.
        short_forms: short forms, each of two concepts of different branches, that only the context tells apart.
        steps: optimizer steps of batch 24.
        vocabulary: tokens of the tokenizer trained on names and sentences.
        num_beams: width of the beam.
        seed: of everything.
        output: folder.
        prompt_format: how mentions are written down for the model, see `syncabel.prompt`.

    Raises:
        UnknownNameError: no such prompt format.
    """

    kb: str = "doid"
    concepts: int = 500
    per_concept: int = 110
    held_out: int = 150
    short_forms: int = 30
    steps: int = 2450
    vocabulary: int = 600
    num_beams: int = 5
    seed: int = 0
    output: Path = Path("out/quickstart")
    prompt_format: str = "sentence"

    def __post_init__(self) -> None:
        self.format  # noqa: B018 - an unknown format is refused before anything is done

    @property
    def format(self) -> PromptFormat:
        """The prompt format as a value; where the document comes first, the window around the mention is that format's own."""
        return format_named(self.prompt_format, context_chars=None if self.prompt_format == "document-first" else CONTEXT_CHARS)


def run(settings: QuickstartSettings, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the quickstart; an interrupted one goes on where it stopped, a finished one starts over.

    Args:
        settings: what to do.
        say: told what happens, one line at a time.

    Returns:
        What report.json holds: `seconds`, `peak_memory_mb`, `invalid_names`, `systems` {system: {test: Recall@1}}, and more.

    Raises:
        ConfigError: the knowledge base is too small, or the folder holds something else.
    """
    started = time.perf_counter()
    data = _fresh(settings.output) / "data"

    say(f"1. knowledge base: {settings.concepts} concepts of {settings.kb}")
    whole = KnowledgeBase.load(settings.kb)
    demo = [document for document in demo_documents() if all(code in whole for m in document.mentions for code in m.codes)]
    kb, held_out, short_forms = choose_concepts(whole, settings, [code for document in demo for mention in document.mentions for code in mention.codes])
    kb.save(data / "kb")
    say(f"   {kb.n_names:,} names; {len(held_out)} synonyms held out; {len(short_forms)} short forms that two concepts share")

    say("2. documents: demo sentences as human annotation, template sentences as synthetic data")
    human = [document for document in demo if document.split == "train"]
    made = generate(
        whole, TemplateWriter("train", short_form_share=0.4, unchanged_share=0.25), data / "synthetic", per_concept=settings.per_concept, seed=settings.seed,
        codes=kb.codes, exclude_names=held_out, short_forms=short_forms,
    )  # fmt: skip
    synthetic = list(read_jsonl(data / "synthetic" / "documents.jsonl").documents)
    say(f"   {len(human)} human; {made.generated:,} generated = {made.kept:,} kept + {made.rejected:,} rejected")
    tests = make_tests(whole, kb, held_out, short_forms, [document for document in demo if document.split == "test"], settings)
    for name, documents in tests.items():
        write_jsonl(documents, data / "test" / f"{name}.jsonl")

    say(f"3. a tokenizer of {settings.vocabulary} tokens, and the lexicon: a trie of every name")
    lexicon = _lexicon(kb, synthetic, settings, data)

    config = _config(settings, mixed=bool(human))
    say(f"4. fine-tuning a small Llama from nothing: {settings.steps} steps")
    if human:
        say(f"   human : synthetic = {config['mix']} in loss tokens (not 1:1: {len(human)} sentences cycled 1:1 would take half of the budget)")
    types = TypeMap(kb.groups, {})
    made_examples = _examples([*human, *synthetic], kb, lexicon, types, settings.format, data)
    say(f"   {made_examples}")
    trained = _train(config, data / "sft.yaml")

    say("5. linking the test sets: the model held to the trie, the model left free, and the baselines")
    systems = _systems(kb, [*human, *synthetic], settings)
    scores, invalid = _score(systems, tests, kb, lexicon, types, settings.output)

    memory = peak_memory_bytes()
    report = {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mb": None if memory is None else round(memory / 2**20),
        "invalid_names": invalid,
        "mentions": {name: sum(len(document.mentions) for document in documents) for name, documents in tests.items()},
        "systems": scores,
        "training": {"steps": trained.steps, "loss": None if math.isnan(trained.loss) else trained.loss, "seconds": round(trained.seconds, 1)},
        "kb": {"source": kb.about.source, "release": kb.about.release, "concepts": len(kb), "names": kb.n_names},
        "digests": _digests(kb, lexicon, data),
        "settings": {**to_json(replace(settings, output=Path())), "output": str(settings.output)},
    }
    (settings.output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
    (settings.output / "report.md").write_text(report_text(report), encoding="utf-8")
    return report


def _digests(kb: KnowledgeBase, lexicon: Lexicon, data: Path) -> dict[str, str]:
    """What a results file says of what this run was made from."""
    return {"kb": kb.digest, "lexicon": lexicon.digest, **{f"{source}_examples": file_sha256(data / f"{source}.jsonl") for source in SOURCES}}


def _fresh(folder: Path) -> Path:
    """The output folder, emptied where the last run in it was finished; an interrupted run's files stay.

    Raises:
        ConfigError: the folder holds something that no quickstart wrote.
    """
    marker = folder / MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ConfigError(f"{folder} is not empty and no quickstart made it; give another folder with --output")
    if (folder / "report.json").exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return folder


def demo_documents() -> tuple[Document, ...]:
    """The demo sentences that come with the package."""
    return read_jsonl(Path(str(files("syncabel"))) / "demo" / "doid_demo.jsonl").documents


def choose_concepts(
    whole: KnowledgeBase, settings: QuickstartSettings, wanted: Iterable[str]
) -> tuple[KnowledgeBase, set[tuple[str, str]], dict[str, tuple[str, ...]]]:
    """The subset to link to: the wanted concepts, some that share a short form, the rest drawn; some synonyms taken out.

    Args:
        whole: the knowledge base.
        settings: sizes and seed.
        wanted: codes that must be in.

    Returns:
        The subset without the synonyms held out; these as (code, folded name); and the short forms with their two codes.

    Raises:
        ConfigError: there are not enough concepts, or too few are asked for.
    """
    rng = random.Random(settings.seed)
    eligible = [c for c in whole.concepts() if len(c.names) >= 2 and max(len(name.text) for name in c.names) <= LONGEST_NAME]
    chosen = dict.fromkeys(code for code in map(whole.canonical, wanted) if code is not None)
    namesakes = shared_short_forms(whole, [concept.code for concept in eligible])
    drawn = rng.sample(sorted(namesakes), min(settings.short_forms, len(namesakes)))
    short_forms = {short: namesakes[short][:2] for short in sorted(drawn)}
    chosen |= dict.fromkeys(code for codes in short_forms.values() for code in codes)
    rest = [concept.code for concept in eligible if concept.code not in chosen]
    rng.shuffle(rest)
    codes = [*chosen, *rest[: settings.concepts - len(chosen)]]
    if len(codes) > settings.concepts:
        raise ConfigError(
            f"{settings.concepts} concepts are too few: the demo sentences and the short forms need {len(chosen)}; give --concepts {len(chosen)} or more"
        )
    if len(codes) < settings.concepts:
        what = f"give --concepts {len(codes)} or fewer" if len(codes) >= FEWEST else f"take a larger one, for fewer than {FEWEST} show nothing"
        raise ConfigError(f"{settings.kb} has {len(codes)} concepts fit for the quickstart, {settings.concepts} are asked for; {what}")
    return *_held_out(whole, sorted(codes), settings.held_out, rng), short_forms


def _held_out(whole: KnowledgeBase, codes: Sequence[str], count: int, rng: random.Random) -> tuple[KnowledgeBase, set[tuple[str, str]]]:
    concepts = {code: whole.concept(code) for code in codes}
    owners = _owners(concepts.values())
    taken: set[tuple[str, str]] = set()
    for code in rng.sample(codes, len(codes)):
        concept = concepts[code]
        # A synonym that is another name but for its case, or a bare short form, would test something else.
        fit = [n for n in concept.names if n.text != concept.preferred_name and len(n.text) > 5 and len(owners[fold(n.text)]) == 1]
        if len(taken) < count and fit and len(concept.names) >= 3:
            name = rng.choice(fit)
            taken.add((code, fold(name.text)))
            concepts[code] = replace(concept, names=tuple(n for n in concept.names if n is not name))
    kb = KnowledgeBase.build(
        (replace(concept, parents=tuple(p for p in concept.parents if p in concepts)) for concept in concepts.values()),
        replace(whole.about, source=f"{whole.about.source}, {len(codes)} concepts"),
    )
    return kb, taken


def _owners(concepts: Iterable[Concept]) -> dict[str, list[str]]:
    """Folded name -> one code per name that folds to it."""
    owners: dict[str, list[str]] = {}
    for concept in concepts:
        for name in concept.names:
            owners.setdefault(fold(name.text), []).append(concept.code)
    return owners


def make_tests(
    whole: KnowledgeBase,
    kb: KnowledgeBase,
    held_out: set[tuple[str, str]],
    short_forms: Mapping[str, Sequence[str]],
    demo: Sequence[Document],
    settings: QuickstartSettings,
) -> dict[str, tuple[Document, ...]]:
    """The four test sets, without those a knowledge base gives nothing for.  Template sentences of tests come from frames and seeds that training never saw."""
    rest: dict[str, Any] = {"seed": settings.seed + 1, "exclude_names": held_out}
    writer = TemplateWriter("test", short_form_share=0.0)
    known = {fold(name.text) for concept in kb.concepts() for name in concept.names}
    perturbed = _mentions(generate_documents(whole, writer, per_concept=4, codes=kb.codes, **rest), lambda m: fold(m) not in known)
    shorts = TemplateWriter("test", short_form_share=1.0)
    owners = sorted({code for codes in short_forms.values() for code in codes})
    told_apart = _mentions(generate_documents(whole, shorts, per_concept=2, codes=owners, short_forms=short_forms, **rest), lambda m: m in short_forms)
    tests = {
        "known_perturbed": _one_per_concept(perturbed),
        "unseen_synonyms": tuple(_with_synonym(whole, code, name, writer, settings.seed + 2) for code, name in sorted(held_out)),
        "shared_short_forms": tuple(told_apart),
        "demo_sentences": tuple(demo),
    }
    return {name: documents for name, documents in tests.items() if documents}


def _mentions(made: Iterable[Any], fits: Callable[[str], bool]) -> Iterator[Document]:
    """The documents whose mention fits and is not defined in the text itself."""
    return (item for item in made if isinstance(item, Document) and not item.abbreviations and fits(item.mentions[0].text))


def _one_per_concept(documents: Iterable[Document]) -> tuple[Document, ...]:
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.mentions[0].codes[0], document)
    return tuple(first.values())


def _with_synonym(whole: KnowledgeBase, code: str, folded: str, writer: TemplateWriter, seed: int) -> Document:
    """A sentence about a concept that names it by this very synonym."""
    concept = whole.concept(code)
    text = next(name.text for name in concept.names if fold(name.text) == folded)
    renamed = KnowledgeBase.build(
        [replace(c, names=(Name(text, preferred=True),)) if c.code == code else c for c in map(whole.concept, [code, *whole.ancestors(code)])],
        About("one synonym"),
    )
    made = generate_documents(renamed, writer, per_concept=64, seed=seed, codes=[code])
    return next(item for item in made if isinstance(item, Document) and item.mentions[0].text == text and not item.abbreviations)


def _lexicon(kb: KnowledgeBase, synthetic: Sequence[Document], settings: QuickstartSettings, data: Path) -> Lexicon:
    from syncabel.lexicon.build import build_lexicon
    from syncabel.train.scratch import train_tokenizer

    names = [f" {name.text}" for concept in kb.concepts() for name in concept.names]
    tokenizer = train_tokenizer([*names * 3, *(document.text for document in synthetic[:: max(1, len(synthetic) // 4000)])], settings.vocabulary)
    prepare_tokenizer(tokenizer, settings.format)
    tokenizer.save_pretrained(data / "tokenizer")
    lexicon = build_lexicon(kb, tokenizer)
    lexicon.save(data / "lexicon")
    return lexicon


def _examples(documents: Sequence[Document], kb: KnowledgeBase, lexicon: Lexicon, types: TypeMap, fmt: PromptFormat, data: Path) -> str:
    """Write the training examples; says how many, and how many mentions were left out for which reason."""
    settings = ExampleSettings(context_dropout=CONTEXT_DROPOUT)
    rows = list(make_examples(documents, lexicon, kb.canonical, types, fmt, settings))
    examples = [row for row in rows if isinstance(row, SFTExample)]
    rejected = [row for row in rows if isinstance(row, Rejection)]
    for source in SOURCES:
        write_examples((row for row in examples if row.source == source), data / f"{source}.jsonl")
    (data / "types.json").write_text(json.dumps(dict(types.table)) + "\n", encoding="utf-8")
    write_rejections(rejected, data / "rejected.jsonl")
    # The sentences were written and checked among all concepts of the vocabulary, and hold among the few that are linked to.
    write_format(data, fmt, lexicon, rebased_to=kb.digest)
    return f"{len(rows):,} mentions = {len(examples):,} examples + {len(rejected):,} left out {dict(Counter(row.reason for row in rejected)) or ''}".rstrip()


def _config(settings: QuickstartSettings, mixed: bool) -> dict[str, Any]:
    """The shipped tiny-cpu configuration over the quickstart's own files; without human data it has nothing to mix."""
    from syncabel.config_files import read_config, shipped_configs

    data, output = settings.output / "data", settings.output
    config: dict[str, Any] = read_config(shipped_configs("sft")["tiny-cpu"])
    config |= {key: str(data / f"{key.removesuffix('_examples')}{end}") for key, end in FILES.items()}
    config |= {"output_dir": str(output / "run"), "model_folder": str(output / "model"), "max_steps": settings.steps}
    written = format_to_config(settings.format)
    config |= {"prompt_format": written.pop("format"), **written}
    return config if mixed else {key: value for key, value in config.items() if key not in ("human_examples", "mix")}


def _train(config: Mapping[str, Any], path: Path) -> "Result":
    """The same entry that `accelerate launch scripts/train_sft.py --config configs/sft/tiny-cpu.yaml` goes through."""
    from syncabel.train.arguments import parse
    from syncabel.train.run import train

    path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    return train(parse(["--config", str(path)]))


def _systems(kb: KnowledgeBase, documents: Sequence[Document], settings: QuickstartSettings) -> dict[str, Ranker]:
    from syncabel.decoding import DecodingSettings
    from syncabel.linker import Linker

    constrained = Linker.from_pretrained(settings.output / "model", DecodingSettings(num_beams=settings.num_beams))
    free = replace(constrained, settings=DecodingSettings(constrained=False, num_beams=settings.num_beams, max_new_tokens=64))
    return {"constrained": constrained, "free": free, **standard_baselines(kb, documents, names=SYSTEMS[2:])}


def _score(
    systems: Mapping[str, Ranker], tests: Mapping[str, Sequence[Document]], kb: KnowledgeBase, lexicon: Lexicon, types: TypeMap, output: Path
) -> tuple[dict[str, dict[str, float]], int]:
    """Recall@1 per system and test, and how many constrained answers were no real name with its own code."""
    real = {(lexicon.name(entry), lexicon.code(entry)) for entry in range(len(lexicon))}
    scores: dict[str, dict[str, float]] = {}
    invalid = 0
    (output / "predictions").mkdir(exist_ok=True)
    for system, ranker in systems.items():
        scores[system] = {}
        for test, documents in tests.items():
            linked = apply(ranker, documents, types.of, k=5)
            _write_predictions(linked, output / "predictions" / f"{test}.{system}.jsonl")
            scores[system][test] = evaluate(documents, linked, kb, protocol="any").recall_at_1
            if system == "constrained":
                invalid += sum((p.name, p.code) not in real for result in linked for p in result.predictions)
    return scores, invalid


def _write_predictions(linked: Iterable[LinkedMention], path: Path) -> None:
    path.write_text("".join(json.dumps(to_json(row), ensure_ascii=False) + "\n" for row in linked), encoding="utf-8")


def report_text(report: Mapping[str, Any]) -> str:
    """report.md: the table, and in words where the model wins and where a baseline does."""
    systems, mentions = report["systems"], report["mentions"]
    head = ["system", *(f"{test.replace('_', ' ')} (n={n})" for test, n in mentions.items())]
    rows = [[system, *(f"{systems[system][test]:.3f}" for test in mentions)] for system in SYSTEMS]
    lines = [
        "# Quickstart report",
        "",
        "Recall@1, a fraction: share of mentions whose first answer is right (protocol `any`).",
        "",
        *("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]),
        "",
        *(_verdict(test, systems) for test in mentions),
        "",
        (
            f"{report['seconds']:.0f} s in all, {report['training']['seconds']:.0f} s of them training ({report['training']['steps']} steps, "
            f"loss {report['training']['loss'] or math.nan:.3f}); peak memory {report['peak_memory_mb'] or '?'} MB; "
            f"{report['invalid_names']} constrained answers that are no real name."
        ),
        "",
        (
            f"Knowledge base: {report['kb']['source']}, {report['kb']['release']}; {report['kb']['concepts']} concepts, {report['kb']['names']} names, "
            f"digest {report['digests']['kb'][:12]}.  Human sentences are demo sentences written for this project: the figures show that the road "
            "works, not how well the method does on real notes."
        ),
    ]
    return "\n".join(lines) + "\n"


def _verdict(test: str, systems: Mapping[str, Mapping[str, float]]) -> str:
    model = systems["constrained"][test]
    best = max(("dictionary", "exact", "tfidf", "cascade"), key=lambda system: systems[system][test])
    other = systems[best][test]
    name = test.replace("_", " ")
    if model > other:
        return f"- {name}: the model wins, {model:.3f} against {other:.3f} of the best baseline ({best})."
    if model == other:
        return f"- {name}: the model and the best baseline ({best}) are level at {model:.3f}."
    return f"- {name}: a baseline wins: {best} has {other:.3f}, the model {model:.3f}."
