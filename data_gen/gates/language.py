"""Sentences in another language, by py3langid (a maintained fork of langid.py, Lui and Baldwin, 2012)."""

from functools import cache
from typing import Any

from data_gen.gates.words import texts_beside
from syncabel.errors import MissingExtraError, UnknownNameError
from syncabel.types import Document

__all__ = ["RIVALS", "check_language", "other_language"]

# What a language model falls into.  Among all 140 languages of the identifier a Latin name makes Latin of a sentence.
RIVALS = ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh")


def other_language(document: Document, language: str, letters: int, margin: float) -> str | None:
    """Another language than asked for, and clearly so; its names are not asked about.

    Args:
        document: what was written.
        language: ISO 639-1 code of what should have been.
        letters: fewest letters beside the mentions; shorter texts pass.
        margin: least lead of another language, a difference of probabilities.

    Raises:
        MissingExtraError: py3langid is not installed.
        UnknownNameError: the identifier does not know the language.
    """
    text = texts_beside(document)
    if sum(c.isalpha() for c in text) < letters:
        return None
    ranked = _identifier(language).rank(text)
    lead = ranked[0][1] - dict(ranked)[language]
    return "language" if lead >= margin else None


def check_language(language: str) -> None:
    """Load the identifier.

    Raises:
        MissingExtraError: py3langid is not installed.
        UnknownNameError: the identifier does not know the language.
    """
    _identifier(language)


@cache
def _identifier(language: str) -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingExtraError("generate", "py3langid") from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if language not in identifier.labels:
        raise UnknownNameError("language", language, identifier.labels)
    identifier.set_languages(sorted({*RIVALS, language}))
    return identifier
