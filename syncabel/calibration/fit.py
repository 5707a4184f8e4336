"""Fit a calibration on documents that decided nothing else, and say how well it does on documents it was not fitted on.

Documents are dealt to five folds by a digest of their ids; each fold's confidences come from calibrators fitted on the other four.  The figures,
the choice between the two calibrators and the curves for thresholds all go by those; what is saved is fitted on all documents.
"""

import hashlib
import json
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from syncabel.calibration.answering import log_shares
from syncabel.calibration.features import FEATURES, SEEN_FEATURE, features_of
from syncabel.calibration.store import Calibration, Calibrator, Digests, Fit, HeldFor, Kind, Measured, SetCurve
from syncabel.calibration.thresholds import precision_curve, set_curve
from syncabel.errors import ConfigError
from syncabel.evaluate.confidence import ConfidenceReport, answer_is_right, chosen_confidence, confidence_report
from syncabel.evaluate.protocols import PROTOCOLS, Protocol
from syncabel.evaluate.strata import canonical_answers
from syncabel.lexicon.store import Lexicon
from syncabel.types import Document, LinkedMention, Mention, Prediction, to_json

if TYPE_CHECKING:
    from syncabel.decoding import DecodingSettings

__all__ = ["Calibrated", "Judged", "calibrate", "cross_fitted", "documents_digest", "fit_calibrator", "judged"]

FOLDS = 5
KINDS: tuple[Kind, ...] = ("logistic", "isotonic")
Floats = NDArray[np.float64]
Canonical = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Judged:
    """One annotated mention with its result.

    Attributes:
        document_id: where it is.
        linked: its result.
        right: whether each prediction is right.
        long_form: what the document defines it as, where it is an abbreviation.
        nil: annotated as not in the knowledge base.
    """

    document_id: str
    linked: LinkedMention
    right: tuple[bool, ...]
    long_form: str | None
    nil: bool = False


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and the reports that speak for it.

    Attributes:
        calibration: to be saved.
        before: of the mass as it is, on the answered mentions.
        after: of the chosen calibrator's cross-fitted confidences on the same.
    """

    calibration: Calibration
    before: ConfidenceReport
    after: ConfidenceReport


def judged(documents: Sequence[Document], linked: Mapping[tuple[str, str], LinkedMention], canonical: Canonical, protocol: Protocol) -> list[Judged]:
    """Every annotated mention beside its result.

    A mention that is not in the knowledge base (NIL) is right where the prediction abstains, wrong where it names a concept (`answer_is_right`): a
    threshold is there to hold such answers back.

    Args:
        documents: annotated.
        linked: results by document and mention id.
        canonical: a code as the knowledge base's own, None for an unknown one.
        protocol: what is right; in part right is wrong.

    Raises:
        ConfigError: a mention has no result.
    """
    mentions = [(document, mention) for document in documents for mention in document.mentions if mention.answers is not None]
    if missing := [(document.id, mention.id) for document, mention in mentions if (document.id, mention.id) not in linked]:
        where = "document {!r}, mention {!r}".format(*missing[0])
        raise ConfigError(f"{len(missing)} annotated mentions have no line in the predictions, the first: {where}; link all of the documents")
    return [_judged(document, mention, _whole(linked[document.id, mention.id]), canonical, protocol) for document, mention in mentions]


def _whole(linked: LinkedMention) -> LinkedMention:
    """A result with the answers that an earlier threshold held back."""
    return replace(linked, predictions=linked.alternatives, alternatives=(), abstained=None) if linked.abstained is not None else linked


def _judged(document: Document, mention: Mention, linked: LinkedMention, canonical: Canonical, protocol: Protocol) -> Judged:
    gold = canonical_answers(mention.answers or (), canonical)
    found = canonical_answers([() if prediction.abstains else prediction.codes for prediction in linked.predictions], canonical)
    scores = [PROTOCOLS[protocol](gold, codes) if gold else 0.0 for codes in found]
    right = tuple(answer_is_right(not gold, codes, score) for codes, score in zip(found, scores, strict=True))
    return Judged(document.id, linked, right, document.long_form(mention.text), not gold)


def calibrate(
    rows: Sequence[Judged],
    lexicon: Lexicon | None,
    digests: Digests,
    settings: "DecodingSettings",
    *,
    seen: Container[str] | None = None,
    part: str = "calibrate",
    protocol: str = "set",
    rounds: int = 1000,
    seed: int = 42,
) -> Calibrated:
    """Fit both calibrators, choose one, and measure what its confidences promise.

    Args:
        rows: of calibrating documents, from `judged`.
        lexicon: the model's.
        digests: what the rows were made with.
        settings: the search they were made with.
        seen: strings of training mentions; None leaves that feature out.
        part, protocol: written down.
        rounds, seed: of the document bootstrap.

    Raises:
        ConfigError: fewer than two documents with answers, or all answers right, or all wrong.
    """
    answered = [row for row in rows if row.linked.predictions]
    documents = [row.document_id for row in answered]
    right = np.array([row.right[0] for row in answered], np.float64)
    _check(right, documents)
    matrix = np.stack([features_of(row.linked, lexicon, row.long_form, seen or ()) for row in answered])
    names = tuple(name for name in FEATURES if name != SEEN_FEATURE or seen is not None)
    raw, source = chosen_confidence([_uncalibrated(row.linked) for row in answered])
    nil = sum(row.nil for row in answered)
    before = confidence_report(right, np.clip(raw, 0, 1), documents, nil=nil, source=source, rounds=rounds, seed=seed)
    crossed = {kind: cross_fitted(kind, matrix, right, documents, names) for kind in KINDS}
    reports = {kind: confidence_report(right, values, documents, nil=nil, rounds=rounds, seed=seed) for kind, values in crossed.items()}
    measured = {kind: _measured(reports[kind], right, crossed[kind]) for kind in KINDS}
    chosen = min(KINDS, key=lambda kind: measured[kind].brier)
    fit = Fit(
        documents=len({row.document_id for row in rows}),
        mentions=len(rows),
        answered=len(answered),
        part=part,
        protocol=protocol,
        folds=min(FOLDS, len(set(documents))),
        before=_measured(before, right, raw),
        logistic=measured["logistic"],
        isotonic=measured["isotonic"],
    )
    precision = precision_curve(right, crossed[chosen], documents, len(rows) - len(answered), rounds=rounds, seed=seed)
    calibration = Calibration(digests, HeldFor.of(settings), fit_calibrator(chosen, matrix, right, names), fit, precision, _sets(rows))
    return Calibrated(calibration, before, reports[chosen])


def _uncalibrated(linked: LinkedMention) -> Prediction:
    return replace(linked.predictions[0], confidence=None)


def _check(right: Floats, documents: Sequence[str]) -> None:
    if len(set(documents)) < 2:
        raise ConfigError(f"{len(set(documents))} calibrating documents with answered mentions; a calibration needs two at the least, and dozens to be of use")
    if right.all() or not right.any():
        which = "right" if right.all() else "wrong"
        raise ConfigError(f"all {len(right):,} answers on the calibrating documents are {which}; there is nothing to tell apart, give more documents")


def fit_calibrator(kind: Kind, matrix: Floats, right: Floats, names: Sequence[str]) -> Calibrator:
    """Fit one calibrator.

    The logistic one has an L2 penalty of 1 on standardised features.  The isotonic one is fitted on top of its score: a monotone step function
    has one input only.

    Args:
        kind: of the calibrator.
        matrix: from `features_of`. Shape: (rows, len(FEATURES)).
        right: 0 or 1. Shape: (rows,).
        names: the features to look at.
    """
    from sklearn.isotonic import IsotonicRegression

    chosen = matrix[:, [FEATURES.index(name) for name in names]]
    if not np.isfinite(chosen).all():
        raise ConfigError("a prediction's mass, bound or log_prob is no finite number; link the documents again")
    mean, deviation = chosen.mean(0), chosen.std(0)
    scale = np.where(deviation > 1e-12, deviation, 1.0)
    weights, intercept = _logistic((chosen - mean) / scale, right)
    edge = 1 / (len(right) + 2)
    points: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    if kind == "isotonic":
        fitted = IsotonicRegression(out_of_bounds="clip").fit((chosen - mean) / scale @ weights + intercept, right)
        points = tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_))
    return Calibrator(kind, tuple(names), tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()), intercept, *points, edge, 1 - edge)


def _logistic(inputs: Floats, right: Floats) -> tuple[Floats, float]:
    """Weights and intercept; where the rows are of one kind, the log odds of their number alone."""
    from sklearn.linear_model import LogisticRegression

    hits = float(right.sum())
    if hits in (0, len(right)):
        return np.zeros(inputs.shape[1]), math.log((hits + 1) / (len(right) - hits + 1))
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(inputs, right)
    return np.asarray(fitted.coef_[0], np.float64), float(fitted.intercept_[0])


def cross_fitted(kind: Kind, matrix: Floats, right: Floats, documents: Sequence[str], names: Sequence[str]) -> Floats:
    """P(right) of each row by a calibrator that was fitted on the other folds of the documents.  Arguments as for `fit_calibrator`. Shape: (rows,)."""
    found = np.empty(len(right))
    for held_out in _folds(documents):
        calibrator = fit_calibrator(kind, matrix[~held_out], right[~held_out], names)
        found[held_out] = calibrator.probability(matrix[held_out])
    return found


def _folds(documents: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
    """Which rows each fold holds: documents ranked by a digest of their ids and dealt out in turn, so that their order is of no account."""
    ranked = sorted(set(documents), key=lambda name: hashlib.sha256(b"fold\0" + name.encode()).digest())
    place = {name: i % FOLDS for i, name in enumerate(ranked)}
    of_row = np.array([place[name] for name in documents])
    yield from (of_row == fold for fold in range(min(FOLDS, len(ranked))))


def _measured(report: ConfidenceReport, right: Floats, confidence: Floats) -> Measured:
    sure = np.clip(confidence, 1e-12, 1 - 1e-12)
    loss = float(-np.mean(right * np.log(sure) + (1 - right) * np.log1p(-sure)))
    values = {name: cast(float, getattr(report, name)) for name in ("mean_confidence", "accuracy", "ece", "ece_mass", "brier", "aurc")}
    return Measured(**values, log_loss=loss, auroc=report.auroc)


def _sets(rows: Sequence[Judged]) -> SetCurve:
    shares = [log_shares(row.linked.predictions) for row in rows]
    needed = [_needed(row, listed) for row, listed in zip(rows, shares, strict=True)]
    counted = [[share for share, answer in zip(listed, row.linked.predictions, strict=True) if answer.codes] for row, listed in zip(rows, shares, strict=True)]
    documents = [row.document_id for row in rows]
    return SetCurve(len(set(documents)), set_curve(needed, documents, counted))


def _needed(row: Judged, shares: Sequence[float]) -> float:
    """The level at which a right answer comes into the set: the first is in every one, what has no code in none."""
    levels = [math.inf if rank == 0 else share for rank, share in enumerate(shares)]
    held = zip(levels, row.right, row.linked.predictions, strict=True)
    return max((level for level, good, answer in held if good and answer.codes), default=-math.inf)


def documents_digest(documents: Sequence[Document]) -> str:
    """SHA-256 of documents in the order of their ids."""
    digest = hashlib.sha256()
    for document in sorted(documents, key=lambda document: document.id):
        digest.update(json.dumps(to_json(document), ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
