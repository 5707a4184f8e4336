"""Which gates stand, and how narrow they are."""

from dataclasses import dataclass

from syncabel.errors import ConfigError, UnknownNameError

__all__ = ["GATE_NAMES", "GateSettings"]

# In the order they are asked; each is named as the reason it gives.
GATE_NAMES = (
    "mention_absent",
    "mention_empty",
    "control_character",
    "bracket",
    "too_long",
    "too_short",
    "personal_data",
    "shot_copy",
    "held_out_overlap",
    "language",
    "near_duplicate",
    "cap",
)


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The gates of sentences that a language model wrote; every threshold was tuned on human training sentences (docs/results/gates.yaml).

    Attributes:
        language: ISO 639-1 code of what should have been written.
        off: gates switched off, by name, for an ablation.
        cap: most sentences kept per concept; None for any number.
        max_text, max_mention: longest text and mention, in code points.
        min_words: fewest words of a text beside its mentions.
        language_letters: fewest letters beside the mentions that the identifier is asked about; shorter texts pass.
        language_margin: least lead of another language over the right one, as a difference of probabilities, a fraction.
        near_duplicate: least Jaccard similarity of two texts' shingles that makes the later one a duplicate, a fraction.
        shot_overlap: least share of the smaller side's word trigrams that a text has in common with a style example, a fraction.
        held_out_words: length of the word n-grams that no held-out text may share.

    Raises:
        UnknownNameError: `off` names no gate.
        ConfigError: a threshold that is none.
    """

    language: str = "en"
    off: tuple[str, ...] = ()
    cap: int | None = None
    max_text: int = 1000
    max_mention: int = 150
    min_words: int = 1
    language_letters: int = 20
    language_margin: float = 0.3
    near_duplicate: float = 0.8
    shot_overlap: float = 0.35
    held_out_words: int = 9

    def __post_init__(self) -> None:
        for name in self.off:
            if name not in GATE_NAMES:
                raise UnknownNameError("gate", name, GATE_NAMES)
        for field in ("language_margin", "near_duplicate", "shot_overlap"):
            if not 0 < (value := getattr(self, field)) <= 1:
                raise ConfigError(f"{field} is {value}; give a fraction above 0, up to 1")
        for field in ("max_text", "max_mention", "held_out_words"):
            if (value := getattr(self, field)) < 1:
                raise ConfigError(f"{field} is {value}; give 1 or more")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"cap is {self.cap}; give 1 or more, or None for any number")
        if min(self.min_words, self.language_letters) < 0:
            raise ConfigError("min_words and language_letters count words and letters; give 0 or more")

    def stands(self, gate: str) -> bool:
        """Whether a gate is asked."""
        return gate not in self.off
