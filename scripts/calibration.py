"""How well confidences hold on documents they were not fitted on: the stored answers of scripts/evidence.py for the NCBI disease test set.

The test documents are dealt into two halves; each half is calibrated on the other, with the search, lexicon and training documents of the cell.  This
shows what calibrating does and chooses nothing: where a model is to be used, its calibrating half of dev takes the place of either half.

    python scripts/calibration.py --evidence out/evidence -o docs/results/calibration.yaml
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import results_file
from evidence_sets import SETS, Bench, Places

from syncabel.bootstrap import document_interval
from syncabel.calibration.answering import Answering, answer_set
from syncabel.calibration.fit import Judged, calibrate, judged
from syncabel.calibration.seen import SeenStrings
from syncabel.calibration.store import Calibration, Digests
from syncabel.calibration.thresholds import set_level, threshold_for
from syncabel.corpora import part_of_dev
from syncabel.decoding import DecodingSettings
from syncabel.errors import ConfigError
from syncabel.evaluate import ConfidenceReport, aligned, confidence_report, read_linked
from syncabel.lexicon.store import Lexicon
from syncabel.types import LinkedMention

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
SET = "ncbi_disease"
TARGETS, COVERAGES = (0.9, 0.95), (0.65, 0.7)
SHOWN = ("ece", "ece_mass", "brier", "auroc", "aurc", "excess_aurc")


@dataclass(frozen=True, slots=True)
class Row:
    """A mention whose confidence comes from the other half's calibration."""

    judged: Judged
    linked: LinkedMention
    calibration: Calibration

    @property
    def right(self) -> bool:
        """Whether the first answer is."""
        return self.judged.right[0]

    @property
    def confidence(self) -> float:
        """Of the first answer."""
        return self.linked.predictions[0].confidence or 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every arm and seed and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evidence", type=Path, default=ROOT / "out" / "evidence", help="folder that scripts/evidence.py filled")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with corpora and kb")
    parser.add_argument("--arms", default="human+others,human+names", help="comma-separated")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "results" / "calibration.yaml")
    args = parser.parse_args(argv)
    started, seeds = time.monotonic(), [int(seed) for seed in args.seeds.split(",")]
    bench, folder = SETS[SET](Places(args.data, Path(), Path())), args.evidence / SET
    lexicon = Lexicon.load(folder / "data" / "lexicon")
    seen = SeenStrings.of(mention.text for document in bench.fit for mention in document.mentions)
    metrics: dict[str, Any] = {}
    for arm in args.arms.split(","):
        for seed in seeds:
            rows = list(cross_halves(bench, lexicon, seen, folder / arm / f"seed-{seed}" / "constrained.jsonl"))
            metrics.setdefault(arm, {})[f"seed_{seed}"] = measured(rows)
            print(f"{arm}, seed {seed}: {summary(metrics[arm][f'seed_{seed}'])}", flush=True)
    write(args.output, metrics, bench, lexicon, seeds, time.monotonic() - started)
    return 0


def cross_halves(bench: Bench, lexicon: Lexicon, seen: SeenStrings, predictions: Path) -> Iterator[Row]:
    """Every annotated mention of the test set, with the confidence that the other half gives."""
    linked = aligned(bench.test, read_linked(predictions), predictions)
    halves = [judged(part_of_dev(bench.test, part), linked, bench.kb.canonical, "set") for part in ("select", "calibrate")]
    for scored, fitted in (halves, halves[::-1]):
        calibration = calibrate(fitted, lexicon, Digests("", lexicon.digest, bench.kb.digest, ""), DecodingSettings(), seen=seen).calibration
        answering = Answering(calibration, seen)
        for row in scored:
            yield Row(row, answering.answered(row.linked, lexicon, row.long_form), calibration)


def measured(rows: Sequence[Row]) -> dict[str, Any]:
    """Confidences before and after, and what thresholds and sets keep of what they promise."""
    documents, right = [row.judged.document_id for row in rows], [row.right for row in rows]
    before = confidence_report(right, [min(1.0, row.linked.predictions[0].mass) for row in rows], documents, source="mass")
    after = confidence_report(right, [row.confidence for row in rows], documents)
    return {
        "accuracy": figure(float(np.mean(right)), document_interval(documents, right)),
        "before": reported(before),
        "after": reported(after),
        "target_precision": {f"{target:g}": precision_kept(rows, target) for target in TARGETS},
        "coverage": {f"{coverage:g}": coverage_kept(rows, coverage) for coverage in COVERAGES},
    }


def figure(value: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    """One figure as the results files have it."""
    return {"value": round(value, 4), "ci95": None if interval is None else [round(end, 4) for end in interval]}


def reported(report: ConfidenceReport) -> dict[str, Any]:
    """The figures of a report; the interval of the mean confidence is not computed."""
    return {"mean_confidence": figure(report.mean_confidence or 0.0), **{name: figure(getattr(report, name), report.intervals[name]) for name in SHOWN}}


def precision_kept(rows: Sequence[Row], target: float) -> dict[str, Any]:
    """Precision and coverage with the threshold of the other half; halves where it is refused answer nothing."""
    given = [row.confidence >= threshold_of(row.calibration, target) for row in rows]
    hits, documents = [row.right and kept for row, kept in zip(rows, given, strict=True)], [row.judged.document_id for row in rows]
    share = figure(float(np.mean(given)), document_interval(documents, given))
    return {"answered": share} | ({"precision": figure(sum(hits) / sum(given), document_interval(documents, hits, given))} if any(given) else {})


def threshold_of(calibration: Calibration, target: float) -> float:
    """Above every confidence where the target is refused."""
    try:
        return threshold_for(calibration.precision, target).threshold
    except ConfigError:
        return 2.0


def coverage_kept(rows: Sequence[Row], coverage: float) -> dict[str, Any]:
    """Mean over documents of the share of mentions whose set holds a right answer, and the sets' size; no figure where a half refuses."""
    sizes = {name: sum(row.judged.document_id == name for row in rows) for name in {row.judged.document_id for row in rows}}
    try:
        sets = [answer_set(row.linked.predictions, set_level(row.calibration.sets.points, row.calibration.sets.documents, coverage).log_share) for row in rows]
    except ConfigError:
        return {}
    covered = [
        any(good and answer.code in held for good, answer in zip(row.judged.right, row.linked.predictions, strict=True))
        for row, held in zip(rows, sets, strict=True)
    ]
    documents = [row.judged.document_id for row in rows]
    weights = np.array([1 / sizes[name] for name in documents])
    hits = weights * np.array(covered)
    return {
        "covered": figure(float(hits.sum() / weights.sum()), document_interval(documents, hits, weights)),
        "codes": figure(float(np.mean([len(held) for held in sets]))),
    }


def summary(found: dict[str, Any]) -> str:
    """One line for people."""
    parts = [f"{name} {found['before'][name]['value']:.3f} → {found['after'][name]['value']:.3f}" for name in ("ece", "brier", "auroc", "aurc")]
    kept = found["target_precision"]["0.95"]
    told = f"target 0.95: precision {kept['precision']['value']:.3f} of {kept['answered']['value']:.1%}" if "precision" in kept else "target 0.95: refused"
    return ", ".join([*parts, told, f"coverage 0.7: {found['coverage']['0.7'] or 'refused'}"])


def write(path: Path, metrics: dict[str, Any], bench: Bench, lexicon: Lexicon, seeds: Sequence[int], seconds: float) -> None:
    """The results file."""
    content = {
        **results_file.head(path),
        "config": {"targets": list(TARGETS), "coverages": list(COVERAGES), "beams": 5},
        "digests": {"kb": bench.kb.digest, "lexicon": lexicon.digest},
        "hardware": f"{results_file.processor()}, one thread",
        "software": results_file.software("numpy", "scikit-learn", "rapidfuzz"),
        "data": "NCBI disease test, in two halves of documents, each calibrated on the other; answers of docs/results/evidence.yaml",
        "protocol": "set",
        "seeds": list(seeds),
        "seconds": round(seconds, 1),
        "n": {"documents": len(bench.test), "mentions": sum(len(document.mentions) for document in bench.test)},
        "metrics": metrics,
        "notes": " ".join(NOTES.split()),
    }
    results_file.write(path, content)


NOTES = """A demonstration on test answers: the models were fitted on train and dev, so that the two halves of test are all that is left to calibrate and
to score on; nothing is chosen by it. The models are small ones trained from nothing, and under-confident: the mass that a beam of 5 finds is not all there
is. Large models are mostly over-confident. 'answered' counts mentions of both halves; a half that refuses the target answers none. 'covered' is the mean
over documents of the share of mentions whose set holds the right answer; sets are made of the 5 answers of the beam, which for a fifth of the mentions do
not hold it."""


if __name__ == "__main__":
    sys.exit(main())
