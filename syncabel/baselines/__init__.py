"""Baselines to put beside every score: what a user would take instead of a language model.

    dictionary   the answer that training mentions of the same text had
    exact        the concept that has the mention as a name
    normalised   the same with case, accents, punctuation, plural, stop words and word order aside
    tfidf        the nearest name or training mention by character n-grams
    bm25         the same by words, as search engines rank
    rapidfuzz    the same by edits, over words in any order
    dense        the same by a sentence encoder
    cascade      dictionary, exact, tfidf: what one leaves open the next fills

Each is a `LinkingRanker`: it ranks concepts for mentions and links documents, as `syncabel.linker.Linker` does.  With `long_forms` a mention
that is a short form in its document is looked up by the long form found there, in training mentions as in queries.  None of them
reads the context beyond that.
"""

from syncabel.baselines.base import LinkingRanker, apply, linked, rank_all
from syncabel.baselines.bm25 import Bm25, words_of
from syncabel.baselines.cascade import Cascade
from syncabel.baselines.dense import DenseNames, Encoder
from syncabel.baselines.fuzzy import SCORERS, FuzzyNames
from syncabel.baselines.lookup import ExactName, MentionDictionary, NormalisedName, normal_form
from syncabel.baselines.nearest import NearestString
from syncabel.baselines.standard import STANDARD, standard_baselines
from syncabel.baselines.tfidf import CharTfidf

__all__ = [
    "SCORERS",
    "STANDARD",
    "Bm25",
    "Cascade",
    "CharTfidf",
    "DenseNames",
    "Encoder",
    "ExactName",
    "FuzzyNames",
    "LinkingRanker",
    "MentionDictionary",
    "NearestString",
    "NormalisedName",
    "apply",
    "linked",
    "normal_form",
    "rank_all",
    "standard_baselines",
    "words_of",
]
