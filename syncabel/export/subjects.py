"""What each line of a card speaks of, read off its words: that decides in which files its figures must stand.

A line speaks of scores where a measure, an interval or a word like "correct" stands in it, in a heading above it, elsewhere in its paragraph or
list, in the head of its table, or in the paragraph that leads to its table or list.  English, French and Spanish words are known, the languages of prompts.
"""

import re
from collections.abc import Iterator, Sequence

from syncabel.text import fold

__all__ = ["CONFIDENCE", "COST", "DEV", "SCORES", "speaks_of_scores", "subjects_of"]

SCORES, DEV, COST, CONFIDENCE = "scores", "dev", "cost", "confidence"
_DECIMAL = r"-?\d*[.,]\d+\s?%?"
_SCORE = re.compile(
    r"recall|rappel|exhaustivi|pr[ée]cisi[oó]n|accura|exactitud|aciert|scor(?:e|ing)|puntuaci|correct|sensi(?:tivity|bilit|bilidad)"
    r"|(?:specificit|spécificité|especificidad)|error.rate|taux.d.erreur|tasa.de.error|baseline|calibr|confiden|confian|\bci\b|interval"
    r"|\bf[-_ ]?1\b|\bf[-_ ](?:measure|mesure)|medida.f\b|\bmrr\b|ndcg|\bece\b|brier|\bau(?:roc|prc|rc|c)\b|kappa|log.loss|@\s?\d"
    rf"|[\[(]\s*{_DECIMAL}\s*(?:[-–—;,]|to|à|a)\s*{_DECIMAL}\s*[\])]|\d[.]\d+\s?%?\s?[–—]\s?\d*[.]\d+"
)
# Headings whose sections are of scores though no measure is named.
_SECTION = re.compile(r"result|résultat|[eé]valua|performance|rendimiento|benchmark|metric|métri")
_ABOUT = {
    DEV: re.compile(r"\bdev\b|développement|desarrollo|validation|validación"),
    COST: re.compile(r"second|minut|hour|heure|hora|speed|memory|mémoire|memoria|per_s\b|\bms\b|\b[kmg]i?b\b"),
    CONFIDENCE: re.compile(r"calibr|confiden|confian"),
}
_HEADING = re.compile(r"(#+)\s+(.*)")
_ROW, _ITEM = re.compile(r"\s*\|"), re.compile(r"\s*(?:\||[-*+]\s|\d+[.)]\s)")


def speaks_of_scores(text: str) -> bool:
    """Whether a measure or an interval is named.

    >>> [speaks_of_scores(text) for text in ("Précision de 0,5", "91 (0.88–0.93)", "trained for 500 steps")]
    [True, True, False]
    """
    return _SCORE.search(fold(text)) is not None


def subjects_of(lines: Sequence[str], names: Sequence[str] = ()) -> list[frozenset[str]]:
    """What each line speaks of.

    Args:
        lines: of a card.
        names: of terminologies and the like; what stands in them says nothing of the line.

    Returns:
        Of each line nothing where it speaks of no score; else `SCORES` and what else it speaks of.
    """
    telling = [fold(name) for name in names if speaks_of_scores(name)]
    found = [frozenset[str]()] * len(lines)
    for number, headings, text in _surroundings([re.sub(r"\\(.)", r"\1", line) for line in lines]):
        above, own = fold(headings), fold(text)
        for name in telling:
            own = own.replace(name, " ")
        if _SECTION.search(above) or _SCORE.search(f"{above}\n{own}"):
            found[number] = frozenset({SCORES, *(subject for subject, words in _ABOUT.items() if words.search(f"{above}\n{own}"))})
    return found


def _surroundings(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Number of each line with ink, the headings above it but for the card's title, and the text that it is read with."""
    headings: dict[int, str] = {}
    titled, before = False, ""
    for block in _blocks(lines):
        first = lines[block[0]]
        if heading := _HEADING.match(first):
            level, before = len(heading[1]), ""
            headings = {each: text for each, text in headings.items() if each < level}
            if level > 1 or titled:
                headings[level] = heading[2]
            titled = titled or level == 1
        leading = f"{before}\n" if _ITEM.match(first) else ""
        before = leading + " ".join(lines[number] for number in block)
        for number in block:
            yield number, "\n".join(headings.values()), f"{leading}{first}\n{lines[number]}" if _ROW.match(first) else before


def _blocks(lines: Sequence[str]) -> Iterator[range]:
    """Lines that no empty line parts; a heading is a block of its own."""
    start = 0
    for number, line in enumerate([*lines, ""]):
        if not line.strip() or _HEADING.match(line):
            if start < number:
                yield range(start, number)
            start = number + 1
            if line.strip():
                yield range(number, start)
