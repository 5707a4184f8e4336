"""The baselines of every report."""

from collections.abc import Callable, Iterable, Sequence

from syncabel.baselines.base import LinkingRanker
from syncabel.baselines.bm25 import Bm25
from syncabel.baselines.cascade import Cascade
from syncabel.baselines.dense import DenseNames, Encoder
from syncabel.baselines.fuzzy import FuzzyNames
from syncabel.baselines.lookup import ExactName, MentionDictionary, NormalisedName
from syncabel.baselines.tfidf import CharTfidf
from syncabel.errors import ConfigError, UnknownNameError
from syncabel.kb import KnowledgeBase
from syncabel.types import Document

__all__ = ["STANDARD", "standard_baselines"]

STANDARD = ("dictionary", "exact", "normalised", "tfidf", "bm25", "rapidfuzz", "cascade")
_CASCADE = ("dictionary", "exact", "tfidf")


def standard_baselines(
    kb: KnowledgeBase,
    documents: Sequence[Document],
    long_forms: bool = True,
    encoder: Encoder | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, LinkingRanker]:
    """The baselines of every report: look-ups first, then retrieval, their cascade last.

    Args:
        kb: where answers come from.
        documents: training documents; never those that are scored.
        long_forms: look short forms up by their long forms.
        encoder: adds `dense`, which retrieves with it (`syncabel.dense` has encoders).
        names: which of them; all of `STANDARD`, and `dense` where there is an encoder, if None.

    Returns:
        Them by name, in the order of `STANDARD`; `cascade` is `dictionary`, `exact` and `tfidf` in a row.

    Raises:
        UnknownNameError: there is no such baseline.
        ConfigError: `dense` without an encoder.
    """
    every = (*STANDARD[:-1], "dense", STANDARD[-1])
    wanted = set(every if names is None else names) - ({"dense"} if names is None and encoder is None else set())
    for name in sorted(wanted):
        if name not in every:
            raise UnknownNameError("baseline", name, every)
    if "dense" in wanted and encoder is None:
        raise ConfigError("the baseline 'dense' needs a sentence encoder; give encoder, e.g. syncabel.dense.SentenceEncoder.named('minilm')")
    makers: dict[str, Callable[[], LinkingRanker]] = {
        "dictionary": lambda: MentionDictionary.fit(documents, kb, long_forms=long_forms),
        "exact": lambda: ExactName(kb, long_forms=long_forms),
        "normalised": lambda: NormalisedName(kb, long_forms=long_forms),
        "tfidf": lambda: CharTfidf(kb, documents, long_forms=long_forms),
        "bm25": lambda: Bm25(kb, documents, long_forms=long_forms),
        "rapidfuzz": lambda: FuzzyNames(kb, documents, long_forms=long_forms),
    }
    if encoder is not None:
        makers["dense"] = lambda: DenseNames(kb, encoder, documents, long_forms=long_forms)
    needed = wanted | (set(_CASCADE) if "cascade" in wanted else set())
    made = {name: make() for name, make in makers.items() if name in needed}
    if "cascade" in wanted:
        made["cascade"] = Cascade(tuple(made[name] for name in _CASCADE))
    return {name: made[name] for name in every if name in wanted}
