"""`syncabel calibrate`: confidences of a model as probabilities of being right, measured on documents that chose nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from syncabel.calibration.answering import own_digests
from syncabel.calibration.seen import SeenStrings
from syncabel.calibration.store import CALIBRATION, SEEN_FILE, Calibration
from syncabel.calibration.thresholds import coverage_for, set_level, threshold_for
from syncabel.cli.console import out, print_json, tracked
from syncabel.cli.evaluate_tables import score_table
from syncabel.cli.option_groups import with_option_groups
from syncabel.cli.reading import documents_of
from syncabel.cli.search_options import SearchOptions
from syncabel.corpora import part_of_dev
from syncabel.corpora.split import DevPart
from syncabel.errors import ConfigError, DigestMismatchError, MissingLexiconError, UnknownNameError
from syncabel.evaluate import PROTOCOLS, aligned, confidence_json, read_linked
from syncabel.evaluate.protocols import READS
from syncabel.linker import Linker, model_entry
from syncabel.text import fold
from syncabel.types import Document, LinkedMention, to_json

if TYPE_CHECKING:
    from syncabel.calibration.fit import Calibrated
    from syncabel.decoding import DecodingSettings
    from syncabel.evaluate.confidence import ConfidenceReport
    from syncabel.kb import KnowledgeBase
    from syncabel.lexicon.store import Lexicon

__all__ = ["calibrate"]

# Confidence is that of a concept: rules about names, or about codes as they were written, are for comparing with others' scores.
RULES = tuple(protocol for protocol in PROTOCOLS if READS[protocol] == "concepts")
TARGETS, COVERAGES = (0.8, 0.9, 0.95, 0.99), (0.7, 0.8, 0.9, 0.95)  # that are shown


@with_option_groups
def calibrate(
    model: Annotated[Path, typer.Argument(help="Model folder that training exported; calibration.json is written into it.")],
    documents: Annotated[list[Path], typer.Argument(help="Annotated dev documents, in any format that is read.")],
    kb: Annotated[str, typer.Option(help="The model's knowledge base: its folder, or the name of a shipped one (doid).")],
    *,
    train: Annotated[list[Path] | None, typer.Option(help="Training documents: whether a mention was seen becomes a feature; repeat for more files.")] = None,
    no_seen: Annotated[bool, typer.Option("--no-seen", help="Keep no digests of training mentions; short strings can be guessed from them.")] = False,
    part: Annotated[str, typer.Option(help="calibrate: the half of dev that chose no checkpoint; or all, where dev chose nothing.")] = "calibrate",
    predictions: Annotated[Path | None, typer.Option(help="What `syncabel link` wrote for the documents with these settings, instead of linking them.")] = None,
    protocol: Annotated[str, typer.Option(help=f"What is right: {', '.join(RULES)}.")] = "set",
    decoding: SearchOptions,
    lexicon: Annotated[Path | None, typer.Option(help="Folder of the model's lexicon, for a model that came without.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda …; a GPU where there is one.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Learn P(right) from mass, margin, bound, lengths and likeness, and write it into the model's folder.

    What is printed is of confidences that other documents gave (cross-fitted), with intervals over documents.

    It holds for answers that are searched in the way the options say; they are those of `syncabel link`.
    """
    if part not in get_args(DevPart):
        raise UnknownNameError("--part", part, get_args(DevPart))
    if protocol not in RULES:
        raise UnknownNameError("protocol", protocol, RULES)
    if not model.is_dir():
        raise ConfigError(f"{model} is no folder here; the calibration is written into the model's folder, download it first")
    from syncabel.calibration.fit import calibrate as fit
    from syncabel.calibration.fit import documents_digest, judged

    names = _lexicon(model, lexicon)
    base = _knowledge_base(kb, names)
    settings = decoding.settings(model)
    dev, training = documents_of(documents), documents_of(train or [])
    _refuse_leak(dev, training)
    chosen = _part(dev, part)
    linked = _read_predictions(dev, predictions) if predictions else _linked(chosen, model, settings, device, lexicon)
    seen = None if no_seen or not training else SeenStrings.of(mention.text for document in training for mention in document.mentions)
    rows, digests = judged(chosen, linked, base.canonical, protocol), own_digests(model, names, seen, documents_digest(chosen))
    found = fit(rows, names, digests, settings, seen=seen, part=part, protocol=protocol)
    _save(model, found.calibration, seen)
    if json_:
        print_json({**to_json(found.calibration), "before": confidence_json(found.before), "after": confidence_json(found.after)})
    else:
        _show(found, model)


def _lexicon(model: Path, place: Path | None) -> "Lexicon":
    from syncabel.decoding import load_lexicon

    names = load_lexicon(model, model_entry(model), place)
    if names is None:
        raise MissingLexiconError(f"{model}: no lexicon in it, and the names of a concept tell how sure an answer is; give --lexicon")
    return names


def _knowledge_base(kb: str, names: "Lexicon") -> "KnowledgeBase":
    from syncabel.kb import KnowledgeBase

    base = KnowledgeBase.load(kb)
    if base.digest != names.header.get("kb_digest"):
        hint = "give the knowledge base that the model's lexicon was built from"
        raise DigestMismatchError(f"knowledge base {kb}", str(names.header.get("kb_digest")), base.digest, hint)
    return base


def _part(dev: Sequence[Document], part: str) -> Sequence[Document]:
    chosen = part_of_dev(dev, cast(DevPart, part))
    if not chosen:
        raise ConfigError(f"part {part!r} of {len(dev)} documents is empty; give more documents, or --part all where they chose nothing")
    return chosen


def _refuse_leak(dev: Sequence[Document], training: Sequence[Document]) -> None:
    """Confidences on documents that were trained on say nothing of others."""
    texts = {fold(document.text) for document in training}
    if leaked := [document.id for document in dev if fold(document.text) in texts]:
        raise ConfigError(f"{len(leaked)} calibrating documents are training documents, e.g. {leaked[0]!r}; calibrate on others")


def _read_predictions(dev: Sequence[Document], path: Path) -> Mapping[tuple[str, str], LinkedMention]:
    return aligned(dev, read_linked(path), path)


def _linked(
    documents: Sequence[Document], model: Path, settings: "DecodingSettings", device: str | None, lexicon: Path | None
) -> Mapping[tuple[str, str], LinkedMention]:
    linker = Linker.from_pretrained(model, settings, device, lexicon=lexicon, calibrated=False)
    results = tracked(linker.link(documents), "linking", sum(len(document.mentions) for document in documents))
    return {(result.document_id, result.mention_id): result for result in results}


def _save(model: Path, calibration: Calibration, seen: SeenStrings | None) -> None:
    """The digests first: a calibration without them is refused, they alone say nothing."""
    (model / CALIBRATION).unlink(missing_ok=True)
    if seen is None:
        (model / SEEN_FILE).unlink(missing_ok=True)
    else:
        seen.save(model / SEEN_FILE)
    calibration.save(model / CALIBRATION)


def _show(found: "Calibrated", model: Path) -> None:
    fit, calibrator = found.calibration.fit, found.calibration.calibrator
    out.print(f"{fit.documents:,} documents, {fit.mentions:,} annotated mentions, {fit.answered:,} answered, {found.before.accuracy:.1%} of them rightly")
    brier = f"Brier score {fit.logistic.brier:.4f} logistic, {fit.isotonic.brier:.4f} isotonic"
    out.print(f"chosen: {calibrator.kind} on {', '.join(calibrator.features)} ({brier}; by {fit.folds} folds of the documents)")
    table = score_table("metric", f"before ({found.before.source})", "after, cross-fitted")
    for name in ("mean_confidence", "accuracy", "ece", "ece_mass", "brier", "auroc", "aurc", "excess_aurc"):
        table.add_row(name, _figure(found.before, name), _figure(found.after, name))
    out.print(table)
    table = score_table("--target-precision", "threshold", "precision", "lower bound", "mentions answered")
    for target in TARGETS:
        table.add_row(f"{target:g}", *_promised_precision(found.calibration, target))
    out.print(table)
    table = score_table("--coverage", "promised", "codes a mention")
    for coverage in COVERAGES:
        table.add_row(f"{coverage:g}", *_promised_coverage(found.calibration, coverage))
    out.print(table)
    out.print(f"→ {model / CALIBRATION}")


def _figure(report: "ConfidenceReport", name: str) -> str:
    value, interval = getattr(report, name), report.intervals.get(name)
    shown = "—" if value is None else f"{value:.4f}"
    return f"{shown} [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else shown


def _promised_precision(calibration: Calibration, target: float) -> tuple[str, ...]:
    try:
        point = threshold_for(calibration.precision, target)
    except ConfigError:
        best = max(point.lower for point in calibration.precision)
        return "cannot be promised", "", f"at best {best:.3f}", ""
    return f"{point.threshold:.3f}", f"{point.precision:.3f}", f"{point.lower:.3f}", f"{point.coverage:.1%}"


def _promised_coverage(calibration: Calibration, coverage: float) -> tuple[str, ...]:
    sets = calibration.sets
    try:
        point = set_level(sets.points, sets.documents, coverage)
    except ConfigError:
        return f"at best {max(coverage_for(point, sets.documents) for point in sets.points):.3f}", ""
    return f"{coverage_for(point, sets.documents):.3f}", f"{point.size:.2f}"
