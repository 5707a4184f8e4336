"""The distribution figures that papers show: mentions per concept, length of mentions, what is seen in training.

The numbers come first and are written beside the pictures, so that anyone can draw them anew.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncabel.corpora.jsonl import whole_file
from syncabel.errors import MissingExtraError
from syncabel.text import fold
from syncabel.types import Document, Mention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CorpusStats", "Seen", "corpus_stats", "write_stats"]

# Okabe and Ito (2008), told apart by the colour-blind; hatches tell them apart in print.
_BLUE, _SKY, _ORANGE, _VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
_LONGEST = 12  # words; longer mentions share the last bar
_DPI = 200
_LABELLED = 5  # percent; a narrower piece of a bar has no room for its number
_PART_NAMES = {"dev": "Dev", "test": "Test"}


@dataclass(frozen=True, slots=True)
class Seen:
    """The annotated mentions of one part by what training shows of them.  The four counts of mentions sum up to `mentions`.

    A concept is seen where one of the mention's answers has all its codes in the training documents; a surface where a training mention
    has the same text, case and width aside.

    Attributes:
        mentions: annotated ones.
        both_seen, concept_seen, surface_seen, neither_seen: mentions by concept and surface; `concept_seen` has a new surface,
            `surface_seen` a new concept.
        concepts: distinct codes.
        concepts_seen: of these, in training.
    """

    mentions: int
    both_seen: int
    concept_seen: int
    surface_seen: int
    neither_seen: int
    concepts: int
    concepts_seen: int


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """Distributions over a corpus.

    Attributes:
        documents, mentions: how many.
        mentions_per_concept: mentions of each code, most frequent first; a composite mention counts for each of its codes.
        once: share of the codes with one mention, a fraction in [0, 1]; 0 where there are none.
        words: length of a mention in words (between white space) -> mentions.
        seen: part -> what training shows of it; empty where there is no training part.
    """

    documents: int
    mentions: int
    mentions_per_concept: tuple[int, ...]
    once: float
    words: Mapping[str, int]
    seen: Mapping[str, Seen]


def corpus_stats(documents: Sequence[Document], train: Sequence[Document] = ()) -> CorpusStats:
    """The distributions of a corpus.

    Args:
        documents: what is described.
        train: training documents that are no part of it; where none are given, those of split "train" among `documents`.
    """
    mentions = [mention for document in documents for mention in document.mentions]
    codes = Counter(code for mention in mentions for code in mention.codes)
    words = Counter(len(mention.text.split()) for mention in mentions)
    return CorpusStats(
        documents=len(documents),
        mentions=len(mentions),
        mentions_per_concept=tuple(sorted(codes.values(), reverse=True)),
        once=sum(count == 1 for count in codes.values()) / len(codes) if codes else 0.0,
        words={str(length): words[length] for length in sorted(words)},
        seen=_seen_parts(documents, train),
    )


def _seen_parts(documents: Sequence[Document], train: Sequence[Document]) -> dict[str, Seen]:
    shown = list(train) or [document for document in documents if document.split == "train"]
    if not shown:
        return {}
    rest = documents if train else [document for document in documents if document.split != "train"]
    parts: dict[str, list[Mention]] = {}
    for document in sorted(rest, key=lambda document: document.split or ""):
        parts.setdefault(document.split or "documents", []).extend(document.mentions)
    codes = {code for document in shown for mention in document.mentions for code in mention.codes}
    surfaces = {fold(mention.text) for document in shown for mention in document.mentions}
    return {name: _seen(mentions, codes, surfaces) for name, mentions in parts.items()}


def _seen(mentions: Sequence[Mention], codes: set[str], surfaces: set[str]) -> Seen:
    annotated = [mention for mention in mentions if mention.answers]
    kinds = Counter((any(codes.issuperset(answer) for answer in mention.answers or ()), fold(mention.text) in surfaces) for mention in annotated)
    own = {code for mention in annotated for code in mention.codes}
    return Seen(len(annotated), kinds[True, True], kinds[True, False], kinds[False, True], kinds[False, False], len(own), len(own & codes))


def write_stats(stats: CorpusStats, folder: Path | str, title: str) -> list[Path]:
    """Write `stats.json` and one PNG a figure that there is something to draw for.

    Args:
        stats: of `corpus_stats`.
        folder: made where it is missing.
        title: names the corpus over each figure.

    Returns:
        The files written, the numbers first.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no state that outlives the call
    except ImportError as error:
        raise MissingExtraError("plot", str(error.name)) from None
    folder = Path(folder)
    numbers = folder / "stats.json"
    with whole_file(numbers) as handle:
        handle.write(json.dumps(asdict(stats), ensure_ascii=False, indent=1) + "\n")
    written = [numbers]
    drawn = (
        ("mentions_per_concept", bool(stats.mentions_per_concept), _rank_frequency),
        ("mention_length", bool(stats.words), _lengths),
        ("seen_in_training", any(part.mentions for part in stats.seen.values()), _shares),
    )
    for name, wanted, draw in drawn:
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # a picture of an earlier run is not of these numbers
        if wanted:
            figure = Figure(figsize=(6.4, 4.0), layout="constrained")
            draw(figure, stats, title)
            figure.savefig(path, dpi=_DPI)
            written.append(path)
    return written


def _axes(figure: "Figure", title: str, x: str, y: str) -> Any:
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)  # a file's name may hold dollar signs
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _plain(value: float, _: object) -> str:
    return f"{value:,.0f}" if value >= 1 else ""


def _rank_frequency(figure: "Figure", stats: CorpusStats, title: str) -> None:
    counts = stats.mentions_per_concept
    total = sum(counts)
    axes = _axes(figure, f"{title}: mentions per concept", "Concepts, from most to least frequent (rank)", "Mentions of the concept")
    axes.loglog(range(1, len(counts) + 1), counts, color=_BLUE, marker="o", markersize=3, linewidth=1, clip_on=False)
    axes.xaxis.set_major_formatter(_plain)
    axes.yaxis.set_major_formatter(_plain)
    axes.set_ylim(bottom=1)
    axes.set_xlim(left=1)
    axes.grid(True, which="major", color="0.9", linewidth=0.6)
    top = sum(counts[:10]) / total
    note = f"{len(counts):,} concepts, named {total:,} times\n10 most frequent: {top:.0%} of these\nwith one mention: {stats.once:.0%} of concepts"
    axes.text(0.98, 0.96, note, transform=axes.transAxes, ha="right", va="top", fontsize=9, bbox={"facecolor": "white", "edgecolor": "0.8"})


def _lengths(figure: "Figure", stats: CorpusStats, title: str) -> None:
    by_length = Counter[int]()
    for words, count in stats.words.items():
        by_length[min(int(words), _LONGEST)] += count
    longest = max(by_length)
    bars = range(1, longest + 1)
    shares = [100 * by_length[length] / stats.mentions for length in bars]
    axes = _axes(figure, f"{title}: length of mentions", "Words in the mention", "Share of mentions (%)")
    axes.bar(bars, shares, color=_BLUE, width=0.8)
    for length, share in zip(bars, shares, strict=True):
        if by_length[length]:
            axes.annotate(f"{share:.1f}" if share >= 0.05 else "<0.1", (length, share), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(bars, [f"{length}+" if length == _LONGEST else str(length) for length in bars])
    axes.text(0.98, 0.96, f"{stats.mentions:,} mentions", transform=axes.transAxes, ha="right", va="top", fontsize=9)


def _sizes(part: Seen) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("mentions", part.mentions), ("concepts", part.concepts)


# Label, colour, hatch, colour of the number, and the share of a part's mentions and of its concepts.
_KINDS: tuple[tuple[str, str, str, str, Callable[[Seen], tuple[float, float]]], ...] = (
    ("mention: concept and surface seen", _BLUE, "", "white", lambda part: (part.both_seen / part.mentions, 0.0)),
    ("mention: concept seen, surface new", _SKY, "//", "black", lambda part: (part.concept_seen / part.mentions, 0.0)),
    ("mention: concept new, surface seen", _ORANGE, "..", "black", lambda part: (part.surface_seen / part.mentions, 0.0)),
    ("mention: concept and surface new", _VERMILION, "", "black", lambda part: (part.neither_seen / part.mentions, 0.0)),
    ("concept seen", "0.35", "", "white", lambda part: (0.0, part.concepts_seen / part.concepts)),
    ("concept new", "0.8", "", "black", lambda part: (0.0, 1 - part.concepts_seen / part.concepts)),
)


def _shares(figure: "Figure", stats: CorpusStats, title: str) -> None:
    parts = {name: part for name, part in stats.seen.items() if part.mentions}
    axes = _axes(figure, f"{title}: what the training documents show", "Share (%)", "")
    rows = [f"{_PART_NAMES.get(name, name.capitalize())}\n{what} (n = {count:,})" for name, part in parts.items() for what, count in _sizes(part)]
    left = [0.0] * len(rows)
    for label, colour, hatch, ink, share in _KINDS:
        widths = [100 * value for part in parts.values() for value in share(part)]
        if not any(widths):
            continue
        axes.barh(rows, widths, left=left, label=label, color=colour, hatch=hatch, edgecolor="white", height=0.7)
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width >= _LABELLED:
                paper = {"facecolor": colour, "edgecolor": "none", "pad": 1}
                axes.text(start + width / 2, row, f"{width:.1f}", ha="center", va="center", color=ink, fontsize=9, bbox=paper)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
