"""calibration.json: how confidences of one model, over one lexicon, with one search, become probabilities of being right.

It holds weights, thresholds, curves and digests, and no text.  Beside it lies calibration_seen.npy where training mentions are a feature.
A calibration is void with anything else than it was measured with: another knowledge base, other weights, another search.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from syncabel.calibration.features import FEATURES, SEEN_FEATURE
from syncabel.calibration.thresholds import PrecisionPoint, SetPoint
from syncabel.digests import file_sha256
from syncabel.errors import ConfigError, DigestMismatchError, FormatError
from syncabel.types import from_json, to_json

if TYPE_CHECKING:
    from syncabel.decoding import DecodingSettings

__all__ = [
    "CALIBRATION",
    "FORMAT",
    "SEEN_FILE",
    "Calibration",
    "Calibrator",
    "Digests",
    "Fit",
    "HeldFor",
    "Measured",
    "SetCurve",
    "prompts_digest",
    "weights_digest",
]

FORMAT = "syncabel.calibration/1"
CALIBRATION, SEEN_FILE = "calibration.json", "calibration_seen.npy"  # inside a model folder
Floats = NDArray[np.float64]
Kind = Literal["logistic", "isotonic"]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """P(right) from features.

    Attributes:
        kind: `logistic`: 1 / (1 + exp(-score)); `isotonic`: a line through points (score, share right), flat outside them.
        features: names from `FEATURES`, in the order of what follows.
        mean, scale: of each feature over the calibrating mentions; a feature enters as (value - mean) / scale.
        weights, intercept: score = intercept + weights x features.
        scores, shares: the points of `isotonic`, both ascending; empty for `logistic`.
        low, high: no probability is outside: n mentions cannot tell more than 1 / (n + 2) from 0.
    """

    kind: Kind
    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    scores: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def probability(self, rows: Floats) -> Floats:
        """P(right) of each row.

        Args:
            rows: from `features_of`. Shape: (mentions, len(FEATURES)).

        Returns:
            Fractions. Shape: (mentions,).
        """
        chosen = rows[:, [FEATURES.index(name) for name in self.features]]
        score = ((chosen - np.array(self.mean)) / np.array(self.scale)) @ np.array(self.weights) + self.intercept
        # In this form the logistic function overflows nowhere.
        found = np.interp(score, self.scores, self.shares) if self.kind == "isotonic" else 0.5 * (1 + np.tanh(score / 2))
        probability: Floats = np.clip(found, self.low, self.high)
        return probability


@dataclass(frozen=True, slots=True)
class Digests:
    """What it was measured with, as SHA-256.

    Attributes:
        weights: see `weights_digest`.
        lexicon, kb: of the names, and of the knowledge base they are from.
        documents: calibrating ones.
        seen: digests of training strings, where they are looked at.
        prompts: see `prompts_digest`.
    """

    weights: str
    lexicon: str
    kb: str
    documents: str
    seen: str | None = None
    prompts: str = ""


@dataclass(frozen=True, slots=True)
class HeldFor:
    """The search it was measured with; fields as in `DecodingSettings`."""

    constrained: bool
    num_beams: int
    ranking: str
    search: str
    exact_ranks: int
    max_expansions: int
    max_concepts: int
    nil: bool

    @classmethod
    def of(cls, settings: "DecodingSettings") -> "HeldFor":
        """What of the settings decides answers and their probabilities; of a search that is not `exact` its budget does not."""
        exact = settings.search == "exact"
        budget = (settings.exact_ranks, settings.max_expansions) if exact else (1, 0)
        return cls(settings.constrained, settings.num_beams, settings.ranking, settings.search, *budget, settings.max_concepts, settings.nil)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a confidence, as in `syncabel.evaluate.confidence`, with the mean negative natural-log likelihood."""

    mean_confidence: float
    accuracy: float
    ece: float
    ece_mass: float
    brier: float
    log_loss: float
    aurc: float
    auroc: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """How it was fitted and how well that does; every figure is of confidences that another part of the documents gave.

    Attributes:
        documents, mentions: calibrating documents with annotated mentions, and those mentions.
        answered: mentions with an answer; the rest has no confidence.
        part: of dev, see `syncabel.corpora.part_of_dev`.
        protocol: what is right.
        folds: parts of the documents, each scored by a calibrator that was fitted on the others.
        before: figures of the mass as it is.
        logistic, isotonic: figures of both calibrators; the one with the smaller Brier score was chosen, on these very figures.
    """

    documents: int
    mentions: int
    answered: int
    part: str
    protocol: str
    folds: int
    before: Measured
    logistic: Measured
    isotonic: Measured


@dataclass(frozen=True, slots=True)
class SetCurve:
    """Sets by level, and the documents with mentions they were measured on."""

    documents: int
    points: tuple[SetPoint, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """All of calibration.json.

    Attributes:
        digests, held_for: what it holds for.
        calibrator: features to P(right), fitted on all calibrating documents.
        fit: how well that does.
        precision: what thresholds give, on the cross-fitted confidences of the chosen calibrator.
        sets: what sets of codes give.
        format: of the file.
    """

    digests: Digests
    held_for: HeldFor
    calibrator: Calibrator
    fit: Fit
    precision: tuple[PrecisionPoint, ...]
    sets: SetCurve
    format: str = FORMAT

    @property
    def needs_seen(self) -> bool:
        """Whether it looks at training strings."""
        return SEEN_FEATURE in self.calibrator.features

    @property
    def after(self) -> Measured:
        """Figures of the chosen calibrator, cross-fitted."""
        return self.fit.logistic if self.calibrator.kind == "logistic" else self.fit.isotonic

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a file.

        Raises:
            FormatError: it is no calibration of this version.
        """
        hint = "copy it again, or run `syncabel calibrate` again"
        try:
            value = json.loads(path.read_bytes(), parse_constant=_no_number)
            if not isinstance(value, dict) or value.get("format") != FORMAT:
                found = value.get("format") if isinstance(value, dict) else None
                raise FormatError(f"calibration format {found!r}, this version reads {FORMAT!r}")
            calibration = from_json(cls, value)
        except FormatError as error:
            raise FormatError(error.problem, path, hint=hint) from None
        except ValueError as error:
            raise FormatError(f"damaged ({error})", path, hint=hint) from None
        calibrator = calibration.calibrator
        lengths = {len(each) for each in (calibrator.features, calibrator.mean, calibrator.scale, calibrator.weights)}
        if len(lengths) != 1 or len(calibrator.scores) != len(calibrator.shares) or not set(calibrator.features) <= set(FEATURES):
            raise FormatError("features and weights do not go together", path, hint=hint)
        if not calibration.precision or not calibration.sets.points:
            raise FormatError("a curve is empty", path, hint=hint)
        return calibration

    def save(self, path: Path) -> None:
        """Write the file; it holds no NaN."""
        text = json.dumps({"format": self.format, **to_json(self)}, ensure_ascii=False, indent=1, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    def check(self, found: Digests, settings: "DecodingSettings") -> None:
        """Refuse a model, lexicon or search it was not measured with.

        Args:
            found: the model's own; `documents` is of no account.
            settings: of the linking.

        Raises:
            DigestMismatchError: weights, lexicon, knowledge base, prompts or training strings are others.
            ConfigError: the search is another.
        """
        for name in ("kb", "lexicon", "weights", "prompts", "seen"):
            expected, given = getattr(self.digests, name), getattr(found, name)
            if expected != given:
                hint = "it is void after a change until it is measured again: run `syncabel calibrate`"
                raise DigestMismatchError(f"{CALIBRATION} ({name})", str(expected), str(given), hint)
        self.check_search(settings)

    def check_search(self, settings: "DecodingSettings") -> None:
        """Refuse a search it was not measured with.

        Raises:
            ConfigError: it is another.
        """
        if (asked := HeldFor.of(settings)) != self.held_for:
            mine, theirs = to_json(asked), to_json(self.held_for)
            other = ", ".join(f"{name} {theirs[name]!r} and not {mine[name]!r}" for name in mine if mine[name] != theirs[name])
            raise ConfigError(f"{CALIBRATION} was measured with {other}; link with that, or run `syncabel calibrate` with what you link with")


def weights_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of every *.safetensors of a folder, each read whole.

    Samples of a file would be faster, and a change between them (one layer merged, one tensor edited) would keep a calibration that is void.
    """
    told = "".join(f"{path.name}\0{file_sha256(path)}\n" for path in sorted(folder.glob("*.safetensors")))
    return hashlib.sha256(told.encode()).hexdigest()


def prompts_digest(folder: Path) -> str:
    """SHA-256 of the `syncabel` entry of a folder's config.json: how prompts are written and types mapped.

    Whether the lexicon lies beside the weights is no part of it: publishing changes that and no answer.
    """
    entry = json.loads((folder / "config.json").read_bytes()).get("syncabel", {})
    told = {name: value for name, value in entry.items() if name != "lexicon_included"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
