"""Baselines that look a mention up: it is there or it is not."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from syncabel.baselines.base import Codes, LinkingRanker, Vocabulary, answers_of, key_of
from syncabel.kb import KnowledgeBase
from syncabel.kb.normalize import normalized
from syncabel.text import fold
from syncabel.types import Document, Prediction, Query

__all__ = ["ExactName", "MentionDictionary", "NormalisedName", "normal_form"]

# Function words of English, French and Spanish that names are written with or without.
# fmt: off
_STOP_WORDS = frozenset({
    "a", "an", "and", "by", "for", "in", "of", "on", "or", "the", "to", "with", "au", "aux", "avec", "d", "dans", "de", "des", "du", "en", "et", "l", "la",
    "le", "les", "ou", "par", "pour", "sur", "un", "une", "con", "del", "el", "las", "los", "o", "para", "por", "una", "y",
})
# fmt: on
_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
_WORD = re.compile(r"[^\W_]+")
_SHORTEST_PLURAL = 4  # "gas", "HIVs": too short to tell


class MentionDictionary(LinkingRanker):
    """The answers training mentions of the same text had, the most frequent first; ties by code."""

    def __init__(self, table: Mapping[str, Mapping[Codes, int]], vocabulary: Vocabulary, long_forms: bool) -> None:
        self._table, self._vocabulary, self._long_forms = table, vocabulary, long_forms
        self._prior = Counter[Codes]()
        for counts in table.values():
            self._prior.update(counts)

    @classmethod
    def fit(cls, documents: Iterable[Document], kb: KnowledgeBase, *, long_forms: bool = True) -> "MentionDictionary":
        """Count the answers of training mentions by their folded text.

        Args:
            documents: training documents.
            kb: canonicalises the codes; answers it does not know are left out.
            long_forms: count and look short forms up by their long forms.
        """
        table: dict[str, Counter[Codes]] = defaultdict(Counter)
        for key, codes in answers_of(documents, kb, long_forms):
            table[key][codes] += 1
        return cls(dict(table), Vocabulary.of(kb), long_forms)

    def counts(self, query: Query) -> Mapping[Codes, int]:
        """How many training mentions of the query's text had each answer, whatever its group; empty for a new text."""
        return self._table.get(key_of(query.document, query.mention, self._long_forms), {})

    def prior(self, codes: Codes) -> int:
        """How many training mentions of any text had this answer."""
        return self._prior[codes]

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k answers a query; `log_prob` is the log of the answer's share among the text's training mentions."""
        return [self._rank(query)[:k] for query in queries]

    def _rank(self, query: Query) -> list[Prediction]:
        counts = self.counts(query)
        total = sum(counts.values())
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        allowed = (item for item in ordered if self._vocabulary.allows(item[0], query.groups))
        return [Prediction(codes, self._vocabulary.name(codes), math.log(count / total)) for codes, count in allowed]


class ExactName(LinkingRanker):
    """The concepts that have the mention as a name: those it is the preferred name of first, then by code."""

    def __init__(self, kb: KnowledgeBase, *, long_forms: bool = True) -> None:
        self._kb, self._vocabulary, self._long_forms = kb, Vocabulary.of(kb), long_forms

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k concepts a query; `log_prob` is 0, a name is found or not."""
        return [self._rank(query)[:k] for query in queries]

    def _rank(self, query: Query) -> list[Prediction]:
        key = key_of(query.document, query.mention, self._long_forms)
        names = self._vocabulary.names
        codes = sorted(self._kb.codes_of(key), key=lambda code: (fold(names[code]) != key, code))
        return [Prediction((code,), names[code], 0.0) for code in codes if self._vocabulary.allows((code,), query.groups)]


def normal_form(text: str) -> str:
    """A name with what says little put aside, in this order; two texts of one normal form are one name to `NormalisedName`.

    The default rules of `syncabel.kb.normalize` (a last semantic tag or NOS goes), case and width, accents, a possessive 's,
    punctuation, stop words (en, fr, es), a plural s or es at the end of a word, the order of words and their repetition.
    Where nothing but stop words is left these stay.

    >>> normal_form("Carcinomas of the Breast, NOS")
    'breast carcinoma'
    >>> normal_form("Alzheimer's disease") == normal_form("disease, Alzheimer")
    True
    """
    plain = _POSSESSIVE.sub("", fold(normalized(text)[0]))
    bare = "".join(character for character in unicodedata.normalize("NFD", plain) if not unicodedata.combining(character))
    words = _WORD.findall(bare)
    kept = [word for word in words if word not in _STOP_WORDS] or words
    return " ".join(sorted({_singular(word) for word in kept}))


def _singular(word: str) -> str:
    """Without a plural's ending, by its letters alone: "biopsies" → "biopsy", "masses" → "mass"; "diabetes" and "virus" stay."""
    if len(word) < _SHORTEST_PLURAL or not word.endswith("s") or word.endswith(("ss", "us", "is", "etes")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]


class NormalisedName(LinkingRanker):
    """The concepts that have a name of the mention's normal form: those whose preferred name it is first, then by code."""

    def __init__(self, kb: KnowledgeBase, *, long_forms: bool = True) -> None:
        self._vocabulary, self._long_forms = Vocabulary.of(kb), long_forms
        owners: dict[str, dict[str, bool]] = defaultdict(dict)  # normal form -> code -> whether the preferred name has it
        for concept in kb.concepts():
            preferred = concept.preferred_name
            for text in {name.text for name in concept.names}:
                if form := normal_form(text):
                    owners[form][concept.code] = owners[form].get(concept.code, False) or text == preferred
        self._codes = {form: sorted(codes, key=lambda code: (not codes[code], code)) for form, codes in owners.items()}

    def rank(self, queries: Sequence[Query], k: int = 1) -> list[list[Prediction]]:
        """Up to k concepts a query; `log_prob` is 0, a name is found or not."""
        return [self._rank(query)[:k] for query in queries]

    def _rank(self, query: Query) -> list[Prediction]:
        codes = self._codes.get(normal_form(key_of(query.document, query.mention, self._long_forms)), [])
        return [Prediction((code,), self._vocabulary.names[code], 0.0) for code in codes if self._vocabulary.allows((code,), query.groups)]
