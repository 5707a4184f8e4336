"""What becomes of a linker's answers: a confidence, an abstention with its reason, a set of codes."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from syncabel.calibration.features import features_of, log_mass
from syncabel.calibration.seen import SeenStrings
from syncabel.calibration.store import CALIBRATION, SEEN_FILE, Calibration, Digests, prompts_digest, weights_digest
from syncabel.calibration.thresholds import set_level, threshold_for
from syncabel.errors import ConfigError, DigestMismatchError
from syncabel.lexicon.store import Lexicon
from syncabel.types import LinkedMention, Prediction

if TYPE_CHECKING:
    from syncabel.decoding import DecodingSettings

__all__ = ["Answering", "load_answering", "log_shares", "own_digests"]


@dataclass(frozen=True, eq=False)
class Answering:
    """A calibration at work.

    Attributes:
        calibration: the model's own.
        seen: strings of training mentions; empty where the calibration does not look at them.
        threshold: answers of less confidence are held back; None for none.
        target: the precision that the threshold stands for, or None.
        log_share: level of the sets of codes; None where none are asked for.
    """

    calibration: Calibration
    seen: Container[str] = ()
    threshold: float | None = None
    target: float | None = None
    log_share: float | None = None

    @property
    def decides(self) -> bool:
        """Whether answers are held back or put in sets, and not only given a confidence."""
        return self.threshold is not None or self.log_share is not None

    def answered(self, linked: LinkedMention, lexicon: Lexicon | None, long_form: str | None = None) -> LinkedMention:
        """The result with the confidence of its first answer, with its set, or held back.

        Args:
            linked: as searched.
            lexicon: the model's.
            long_form: what the document defines the mention as, where it is an abbreviation.
        """
        if not linked.predictions:
            return linked if self.log_share is None else replace(linked, answer_set=())
        row = features_of(linked, lexicon, long_form, self.seen)
        first = replace(linked.predictions[0], confidence=float(self.calibration.calibrator.probability(row[None])[0]))
        answers = (first, *linked.predictions[1:])
        chosen = None if self.log_share is None else answer_set(answers, self.log_share)
        if reason := self._reason(first):
            return replace(linked, predictions=(), alternatives=answers, abstained=reason, answer_set=chosen)
        return replace(linked, predictions=answers, answer_set=chosen)

    def _reason(self, first: Prediction) -> str | None:
        if self.threshold is None or first.confidence is None or first.confidence >= self.threshold:
            return None
        wanted = f", the threshold for precision {self.target:g}" if self.target is not None else ""
        return f"confidence {first.confidence:.3f} is under {self.threshold:.3f}{wanted}"


def answer_set(answers: Sequence[Prediction], log_share: float) -> tuple[str, ...]:
    """Codes of the first answer and of those with at least a share of the listed mass; what is no name has none."""
    shares = log_shares(answers)
    return tuple(answer.code for answer, share in zip(answers, shares, strict=True) if answer.codes and share >= log_share)


def log_shares(answers: Sequence[Prediction]) -> list[float]:
    """Natural log of each answer's share of the mass of all listed ones; 0 for the first, which is in every set."""
    masses = np.array([log_mass(answer) for answer in answers])
    total = float(np.logaddexp.reduce(masses)) if len(masses) else 0.0
    return [0.0 if rank == 0 else min(0.0, float(mass - total)) for rank, mass in enumerate(masses)]


def load_answering(
    folder: Path,
    lexicon: Lexicon | None,
    settings: "DecodingSettings",
    *,
    min_confidence: float | None = None,
    target_precision: float | None = None,
    coverage: float | None = None,
) -> Answering | None:
    """The calibration of a model folder, at work.

    Where nothing is asked of it, one that is missing, or that does not hold for this lexicon or search, is none: answers have no confidence then.

    Args:
        folder: of the model.
        lexicon: the model's.
        settings: how it searches.
        min_confidence: hold back answers under it; a fraction.
        target_precision: hold back as many answers as it takes for this precision, see `thresholds.threshold_for`.
        coverage: give sets of codes that hold the right one this often, see `thresholds.set_level`.

    Raises:
        ConfigError: a fraction is none, both thresholds are asked for, what is asked for cannot be promised, or there is no calibration.
        DigestMismatchError: it was measured with other weights or prompts, another lexicon or knowledge base.
        FormatError, IncompleteFolderError: its files are damaged or incomplete.
    """
    asked = [value for value in (min_confidence, target_precision, coverage) if value is not None]
    if min_confidence is not None and target_precision is not None:
        raise ConfigError("min_confidence and target_precision both set the threshold; give one of them")
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ConfigError(f"min_confidence is {min_confidence:g}; it is a probability, give one between 0 and 1")
    path = folder / CALIBRATION
    if not path.is_file():
        if asked:
            raise ConfigError(f"{folder}: no {CALIBRATION} in it, which thresholds and sets need; run `syncabel calibrate {folder} DEV --kb KB`")
        return None
    calibration = Calibration.load(path)
    seen = SeenStrings.load(folder / SEEN_FILE) if calibration.needs_seen else None
    try:
        calibration.check(own_digests(folder, lexicon, seen), settings)
    except (ConfigError, DigestMismatchError):
        if asked:
            raise
        return None
    threshold = min_confidence if target_precision is None else threshold_for(calibration.precision, target_precision).threshold
    level = None if coverage is None else set_level(calibration.sets.points, calibration.sets.documents, coverage).log_share
    return Answering(calibration, () if seen is None else seen, threshold, target_precision, level)


def own_digests(folder: Path, lexicon: Lexicon | None, seen: SeenStrings | None, documents: str = "") -> Digests:
    """What a model folder is made of.

    Args:
        folder: of the model.
        lexicon: the model's.
        seen: strings of training mentions, where they are looked at.
        documents: digest of the calibrating documents.
    """
    lexicon_digest, kb = (lexicon.digest, str(lexicon.header.get("kb_digest"))) if lexicon else ("", "")
    return Digests(weights_digest(folder), lexicon_digest, kb, documents, None if seen is None else seen.digest, prompts_digest(folder))
