"""The model card (README.md of a model folder), filled from measured facts and from nothing else."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from syncabel.decoding import LEXICON_FOLDER, build_command
from syncabel.export.results import Metric, ResultsFile
from syncabel.lexicon.store import Lexicon
from syncabel.text import escape_markup

if TYPE_CHECKING:
    from syncabel.calibration.store import Calibration

__all__ = ["Facts", "model_card"]


@dataclass(frozen=True)
class Facts:
    """What was measured while a model was made.

    Attributes:
        name: title of the card.
        base_model: what training started from; "random" for one from scratch, "" where it is not known.
        language: ISO 639-1 code.
        licence: of the weights, as the hub names it; "unknown" where nobody said.
        training: label -> value, printed as a table in this order (steps, loss, seconds, hardware, digests …).
        results: label -> value, e.g. constrained Recall@1 on dev; empty where nothing was scored.
        types: annotated type -> groups.
        run: the record of the training; where there is one, `training` and `results` are read off it.
    """

    name: str
    base_model: str
    language: str = "en"
    licence: str = "unknown"
    training: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        """What the folder keeps as training.json, and the card is rendered from."""
        made = {"format": "syncabel.run/1", "model": {"base": self.base_model}, "notes": dict(self.training), "scores": dict(self.results)}
        return self.run or made


def model_card(
    facts: Facts,
    lexicon: Lexicon,
    place: str,
    *,
    results: Sequence[ResultsFile] = (),
    prompt: Mapping[str, Any] | None = None,
    included: bool = True,
    statement: str = "",
    calibration: "Calibration | None" = None,
) -> str:
    """The card's text in Markdown, with its front matter.

    Args:
        facts: what was measured in training.
        lexicon: the model's.
        place: name of the folder that the card lies in, or of the repository, for the code that loads it.
        results: what was measured of the model, beside baselines.
        prompt: the `syncabel` entry of config.json, for the command that builds the lexicon; a folder's own format where None.
        included: whether the lexicon lies beside the card.
        statement: why the terminology may be passed on though it does not say so.
        calibration: the calibration.json beside the card, where there is one.
    """
    return _Card(facts, lexicon, place, tuple(results), prompt or {}, included, " ".join(statement.split()), calibration).text()


@dataclass(frozen=True, slots=True)
class _Card:
    facts: Facts
    lexicon: Lexicon
    place: str
    results: tuple[ResultsFile, ...]
    prompt: Mapping[str, Any]
    included: bool
    statement: str
    calibration: "Calibration | None" = None

    def text(self) -> str:
        header = self.lexicon.header
        return _CARD.substitute(
            front_matter=self._front_matter(),
            name=_plain(self.facts.name),
            entries=f"{len(self.lexicon):,}",
            codes=f"{len(self.lexicon.codes):,}",
            terminology=_terminology(header),
            warning=self._warning(),
            data=_sources(self.facts.record),
            usage=self._usage(),
            base_model=_base(self.facts),
            training=_table(_training(self.facts.record), "Nothing was recorded of the training."),
            scores=self._scores(),
            cost=self._cost(),
            licence=_plain(self.facts.licence),
            passed_on=self._passed_on(),
            # A tokenizer from nothing is made of words: those of the names and of the texts it was trained on.
            pieces=" but for the words that its tokenizer was made of" if self.facts.base_model == "random" else "",
            calibrated=_UNCALIBRATED if self.calibration is None else _CALIBRATED,
            nil="" if self.lexicon.nil_entry is None else ", or the code `NIL` where `nil=True` offers it",
        )

    def _front_matter(self) -> str:
        from huggingface_hub import ModelCardData

        base = self.facts.base_model
        evaluated = [_evaluated(file, metric) for file in self.results for metric in file.metrics if metric.own and not metric.is_cost]
        data = ModelCardData(
            language=self.facts.language,
            license=self.facts.licence,
            library_name="transformers",
            pipeline_tag="text-generation",
            base_model=base if re.fullmatch(r"[\w-]+/[\w.-]+", base) and not Path(base).exists() else None,
            tags=["entity-linking", "concept-normalization", "biomedical", "syncabel"],
            model_name=self.facts.name,
            eval_results=evaluated or None,
        )
        return data.to_yaml()

    def _warning(self) -> str:
        source = _plain(_source(self.lexicon.header))
        if self.lexicon.header["redistributable"]:
            return ""
        if self.statement:
            return _STATED.substitute(source=source, statement=_plain(self.statement))
        return (_FORBIDDEN if self.included else _LEFT_OUT).substitute(source=source)

    def _usage(self) -> str:
        sentence = _sentence(self.lexicon) if self.included else json.dumps(f"The patient has [fever]{{{self.lexicon.groups[0]}}}.", ensure_ascii=False)
        use = "" if self.included else f'model.use_lexicon("{LEXICON_FOLDER}")\n'
        code = _CODE.substitute(place=self.place, sentence=sentence, use=use)
        if self.included:
            return code
        command = build_command(self.place, self.prompt, self.lexicon.header.get("nil"))
        return _BUILD.substitute(command=command, terminology=_terminology(self.lexicon.header), code=code)

    def _scores(self) -> str:
        record = self.facts.record
        dev = (record.get("result") or {}).get("dev")
        first = [*([_dev_row(dev)] if dev else ()), *((_plain(label), _plain(value), "", "") for label, value in record.get("scores", {}).items())]
        parts = [_grid(("what", "value", "95 % interval", "n"), first)] if first else []
        parts += [part for file in self.results for part in _scored(file)]
        parts += [] if self.calibration is None else _calibrated(self.calibration)
        return "\n\n".join(parts) or "Nothing was measured."

    def _cost(self) -> str:
        rows = [*_cost_of(self.facts.record.get("result") or {})]
        for file in self.results:
            about = _plain(str(file.content.get("hardware", "")))
            rows += [(f"{_label(m)}{f' ({about})' if about else ''}", _shown(m.value)) for m in file.metrics if m.is_cost]
        return _table(rows, "Nothing was measured.")

    def _passed_on(self) -> str:
        if self.lexicon.header["redistributable"]:
            return "may be redistributed"
        return f"redistribution NOT allowed as far as is known{f'; the publisher states: “{_plain(self.statement)}”' if self.statement else ''}"


def _sentence(lexicon: Lexicon) -> str:
    """A Python literal of a sentence that marks a name of the lexicon."""
    middle = len(lexicon) // 2
    entry = middle - 1 if middle == lexicon.nil_entry else middle
    return json.dumps(f"The patient has [{escape_markup(lexicon.name(entry))}]{{{_group(lexicon, entry)}}}.", ensure_ascii=False)


def _group(lexicon: Lexicon, entry: int) -> str:
    (row,) = lexicon.trie.node_class[lexicon.trie.leaves_of(np.array([entry]))]
    return next(group for number, group in enumerate(lexicon.groups) if lexicon.trie.allowed([number])[row])


def _terminology(header: Mapping[str, Any]) -> str:
    """Source, release and licence in words; what is not known is said so, or left out."""
    licence = header["licence"] if header["licence"] not in ("", "unknown") else "licence not stated"
    about = "; ".join(_plain(part) for part in (header["release"], licence) if part)
    return f"{_plain(_source(header))} ({about})"


def _source(header: Mapping[str, Any]) -> str:
    return str(header["source"]) or "a vocabulary without a name"


def _base(facts: Facts) -> str:
    base = str(facts.record.get("model", {}).get("base", "")) or facts.base_model
    if base == "random":
        return "none: the weights were random at first"
    # A folder's place on the machine that trained is nobody's business.
    return _plain(Path(base).name if Path(base).is_absolute() else base) or "not recorded"


def _sources(run: Mapping[str, Any]) -> str:
    """What the training read, source by source."""
    sources = run.get("sources", ())
    if not sources:
        return "Nothing was recorded of the training data."
    head = ("source", "examples", "loss tokens", "repeats", "share of loss tokens")
    rows = [(side["name"], *(_shown(side[key]) for key in ("examples", "loss_tokens", "repeats", "share"))) for side in sources]
    return _grid(head, rows)


def _training(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of the training's table, of what its record has."""
    model, plan, result, place = (run.get(part) or {} for part in ("model", "schedule", "result", "hardware"))
    yield from _given(("parameters", model.get("parameters")), ("parameters trained", model.get("trained_parameters")))
    chosen = result.get("chosen_step") if result.get("chosen_step") != result.get("steps") else None
    yield from _given(("steps", result.get("steps")), ("step that was chosen", chosen), ("items a step", plan.get("items_per_step")))
    if "learning_rate" in plan:
        yield "learning rate", f"{plan['learning_rate']:g}, {plan.get('scheduler', '')}".rstrip(", ")
    yield from _given(("packing", plan.get("packing")), ("loss at the end, nats per loss token", result.get("loss")))
    yield from _given(("seed", (run.get("seeds") or {}).get("train")), ("processes", place.get("processes")), ("device", place.get("device")))
    yield from _given(("CPU cores", place.get("cpus")))
    if versions := run.get("versions"):
        yield "software", ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield from ((_plain(label), _plain(value)) for label, value in run.get("notes", {}).items())


def _given(*rows: tuple[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((label, _shown(value)) for label, value in rows if value is not None)


def _cost_of(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _given(("training, seconds", result.get("seconds")), ("training, tokens per second", result.get("tokens_per_second")))
    if (peak := result.get("peak_memory_bytes")) is not None:
        yield "training, peak memory", f"{peak / 1e9:.2f} GB"


def _dev_row(dev: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return "Recall@1 on the dev sample that chose the checkpoint", _shown(dev["recall_at_1"]), _between(dev.get("ci95")), _shown(dev.get("n", ""))


def _scored(file: ResultsFile) -> Iterator[str]:
    """The heading, table and notes of one results file."""
    rows = [_score_row(metric) for metric in file.metrics if not metric.is_cost]
    if rows:
        about = "; ".join(_plain(f"{key} {file.content[key]}") for key in ("date", "protocol") if key in file.content)
        yield f"### {_plain(file.data)}"
        yield _grid(("what", "value", "95 % interval", "n"), rows)
        yield f"From `results/{file.name}.yaml`{f' ({about})' if about else ''}.  Bold: this model; the others are what it is compared with."
    if notes := file.content.get("notes"):
        yield _plain(notes)


def _calibrated(calibration: "Calibration") -> list[str]:
    """The heading, table and note of a calibration."""
    fit, after = calibration.fit, calibration.after
    rows = [(label, _shown(getattr(fit.before, name)), _shown(getattr(after, name))) for name, label in _CONFIDENCE if getattr(after, name) is not None]
    note = _FITTED.substitute(
        mentions=_shown(fit.mentions),
        answered=_shown(fit.answered),
        documents=_shown(fit.documents),
        folds=_shown(fit.folds),
        protocol=_plain(fit.protocol),
        search=_plain(calibration.held_for.search),
        beams=_shown(calibration.held_for.num_beams),
    )
    return ["### Confidence", _grid(("what", "mass as it is", "calibrated confidence"), rows), note]


def _score_row(metric: Metric) -> tuple[str, str, str, str]:
    mark = "**" if metric.own else ""
    return f"{mark}{_label(metric)}{mark}", f"{mark}{_shown(metric.value)}{mark}", _between(metric.ci95), "" if metric.n is None else _shown(metric.n)


def _label(metric: Metric) -> str:
    names = {"recall_at_1": "Recall@1", "recall_at_5": "Recall@5"}
    return ", ".join(_plain(names.get(part, part)) for part in metric.path)


def _evaluated(file: ResultsFile, metric: Metric) -> Any:
    """A row of `model-index`."""
    from huggingface_hub import EvalResult

    more: dict[str, Any] = {"ci95": list(metric.ci95)} if metric.ci95 else {}
    return EvalResult(
        task_type="text-generation",
        task_name="Entity linking",
        dataset_type=file.name,
        dataset_name=file.data,
        metric_type=metric.kind,
        metric_name="/".join(metric.path),
        metric_value=metric.value,
        metric_args={**more, **({} if metric.n is None else {"n": metric.n})} or None,
    )


def _between(ci95: Sequence[float] | None) -> str:
    return f"{_shown(ci95[0])}–{_shown(ci95[1])}" if ci95 else ""


def _shown(value: Any) -> str:
    """A value as the card prints it: whole numbers in full, fractions to the third place, else three figures that count."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return _plain(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2e}"


def _plain(value: object) -> str:
    """A value from a file as Markdown text of one line, nothing of which is markup."""
    return "".join(f"\\{c}" if c in "\\`*[]<>|" else c for c in " ".join(str(value).split()))


def _table(rows: Iterable[tuple[str, str]], empty: str) -> str:
    return _grid(("what", "value"), made) if (made := list(rows)) else empty


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])


_FORBIDDEN = Template("""
> **The lexicon in this folder must not be passed on.**  It holds the names and codes of $source, whose licence does not allow
> redistribution as far as is known.  `syncabel publish` leaves it out; whoever has the terminology builds it again with
> `syncabel lexicon build`.
""")

_STATED = Template("""
> **Terminology under licence.**  `lexicon/` holds names and codes of $source.  Whoever published it states: “$statement”
""")

_LEFT_OUT = Template("""
> **Without its lexicon.**  The names and codes of $source are under a licence that is not known to allow redistribution.
> Whoever has the terminology builds the lexicon with the command below; `lexicon.json` says from which edition and with
> which filters, and a lexicon is taken only where its digest is the one stated there.  Free generation works without it.
""")

_CODE = Template("""\
```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("$place", trust_remote_code=True, device_map="auto")
${use}results = model.sample(sentences=[$sentence], constrained=True, num_beams=2)
for answer in results[0]:
    print(answer["mention"], answer["pred_concept_name"], answer["pred_concept_code"], f"{answer['beam_score']:.3f}")
```""")

_BUILD = Template("""\
First the lexicon, with the package syncabel and $terminology as a knowledge base `KB` (`syncabel kb build`):

```bash
$command
```

Then:

$code""")

_CONFIDENCE = (
    *(("accuracy", "accuracy"), ("mean_confidence", "mean confidence"), ("ece", "ECE, bins of equal width"), ("ece_mass", "ECE, bins of equal size")),
    *(("brier", "Brier score"), ("log_loss", "log loss"), ("auroc", "AUROC"), ("aurc", "AURC")),
)
_FITTED = Template("""\
From `calibration.json`: $mentions mentions, $answered of them answered, in $documents dev documents (protocol $protocol); each calibrated confidence is one
that a calibrator fitted on other documents gave ($folds parts).  It holds for this lexicon and for the search `$search` with a width of $beams.""")
_UNCALIBRATED = "Scores are not calibrated."
_CALIBRATED = """\
The `confidence` that `syncabel link`
and `syncabel.Linker` give is calibrated (`calibration.json`; figures under Scores); `log_prob`, `mass` and `beam_score` are not."""

_CARD = Template("""\
---
$front_matter
---

# $name

## Summary

Writes the ontology name of a marked mention, held by a trie to the $entries names of $codes concepts of
$terminology, and reads the code off the trie's leaf.
$warning
## Intended use

Given a text and a mention in it that is already marked, it proposes concepts of one terminology, best first, for a person or a process
that can refuse them: coding support, curation, search, research.  It is not meant for decisions about patients without a person in
between, for finding mentions, for billing codes without review, or for terminologies other than its lexicon's.

## Use

$usage

In the place of the name a folder that holds the repository's files will do.  It needs torch, transformers, accelerate and numpy.
`constrained=False` lets it write freely; what is then no name of the group gets the code `NO_CODE`.  `syncabel.Linker.from_pretrained`
does the same without running code from the folder, and plain transformers and vLLM load the weights as they are.

## Training data

$data

## Training

Base model: $base_model.

$training

## Scores

$scores

## Speed and memory

$cost

## Limits

A name is always a real one and may still be the wrong one: look at the score and the alternatives, and have codes that
matter checked by a person.  Mentions are not found by this model; they are given to it in brackets.  A mention of a
concept outside the lexicon gets the name that the model finds most probable$nil.  Concepts that only synthetic sentences showed, or
none did, are linked worse than those that people annotated.  $calibrated

## Bias

A model inherits what its sources over- and under-represent: diseases that are written about more often, the wording of abstracts
rather than of notes, the habits of whoever wrote its synthetic sentences.  Concepts with few synonyms have few ways to be recognised.

## Licence

Weights: $licence; those that learnt a restricted terminology have learnt its names by heart, so treat them as restricted too.
Terminology: $terminology; $passed_on.
Corpora: none of their text is in this folder$pieces; each is used under its owners' terms.
Code: Apache-2.0.

## Citation

The method is SynCABEL (arXiv 2601.19667); the software is syncabel, an implementation of its own.  Cite the terminology and the corpora as
their owners ask.

```bibtex
@misc{syncabel,
  title = {{SynCABEL}},
  eprint = {2601.19667},
  archivePrefix = {arXiv},
}
```
""")
