"""How people write a name otherwise than the vocabulary does: small pure functions `(name, rng) -> str | None`.

None means that the change does not apply to this name.  A result always differs from the name.
"""

import random
import re
from collections.abc import Callable

__all__ = [
    "CHANGES",
    "Change",
    "british",
    "initials",
    "inverted",
    "lowered",
    "misspelt",
    "number_style",
    "perturb",
    "plural_or_singular",
    "reworded",
    "word_dropped",
]

Change = Callable[[str, random.Random], str | None]

_JOINING = frozenset(["a", "an", "and", "as", "by", "caused", "due", "for", "from", "in", "of", "on", "or", "the", "to", "type", "with", "without"])
_GENERIC = frozenset(["disease", "disorder", "syndrome", "type", "condition", "familial", "hereditary"])
_COUNTABLE = frozenset([
    "abscess", "adenoma", "allergy", "anemia", "aneurysm", "anomaly", "cancer", "cyst", "defect", "deficiency", "disease", "disorder",
    "dystrophy", "fistula", "fracture", "hernia", "infection", "malformation", "neoplasm", "neuropathy", "polyp", "seizure", "stone",
    "syndrome", "tumor", "tumour", "ulcer",
])  # fmt: skip
_ROMAN = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5", "VI": "6", "VII": "7", "VIII": "8", "IX": "9", "X": "10"}
_ARABIC = {arabic: roman for roman, arabic in _ROMAN.items()}
# American to British spelling, beginnings or insides of words.
_BRITISH = {
    "anemi": "anaemi", "esophag": "oesophag", "hemorrh": "haemorrh", "hemophil": "haemophil", "leukemi": "leukaemi", "tumor": "tumour",
    "edema": "oedema", "diarrhea": "diarrhoea", "celiac": "coeliac", "hemat": "haemat", "pediatric": "paediatric", "fetal": "foetal",
}  # fmt: skip
# Organ nouns before another noun and the adjectives that stand for them.
_ORGANS = {
    "kidney": "renal",
    "liver": "hepatic",
    "lung": "pulmonary",
    "stomach": "gastric",
    "heart": "cardiac",
    "brain": "cerebral",
    "skin": "cutaneous",
    "bladder": "vesical",
}
_ADJECTIVES = {adjective: noun for noun, adjective in _ORGANS.items()}
_WORD = re.compile(r"[^\W\d_]{4,}")
_TYPED = re.compile(r"(type \w+) (.+)|(.+?) (type \w+)", re.IGNORECASE)


def _changed(name: str, other: str) -> str | None:
    return other if other != name and other.strip() else None


def lowered(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """ "Crohn Disease" to "crohn disease"."""
    return _changed(name, name.lower())


def inverted(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """ "Diabetes Mellitus, Type 2" to "Type 2 Diabetes Mellitus", and back: a type moves behind a comma, else the last word before one."""
    if ", " in name:
        head, _, rest = name.partition(", ")
        return None if "," in rest else f"{rest} {head}"
    words = name.split()
    if not 2 <= len(words) <= 5:
        return None
    if typed := _TYPED.fullmatch(name):
        first, rest, head, last = typed.groups()
        return f"{rest}, {first}" if first else f"{head}, {last}"
    if _JOINING & {word.lower() for word in words} or len(words[-1]) < 4:
        return None
    return f"{words[-1]}, {' '.join(words[:-1])}"


def plural_or_singular(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """The last word, where it is a thing one counts: "ovarian cyst" to "ovarian cysts", "cutaneous fibromas" to "cutaneous fibroma"."""
    head, _, last = name.rpartition(" ")
    if not last.islower():
        return None
    changed = _singular(last) or _plural(last)
    return f"{head} {changed}".strip() if changed else None


def _countable(word: str) -> bool:
    return word in _COUNTABLE or word.endswith(("oma", "pathy"))


def _singular(word: str) -> str | None:
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("s", "")):
        one = word.removesuffix(ending) + instead
        if word.endswith(ending) and _countable(one):
            return one
    return None


def _plural(word: str) -> str | None:
    if not _countable(word):
        return None
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("ss") else "s")


def initials(name: str, rng: random.Random | None = None) -> str | None:  # noqa: ARG001
    """Its short form, joining words left out, a closing number kept: "retinitis pigmentosa 10" to "RP10".  2 to 5 letters, else None."""
    words = [word for word in re.split(r"[\s/,–-]+", name) if word.lower() not in _JOINING and word]
    digits = words.pop() if words and words[-1].isdigit() else ""
    letters = "".join(word[0].upper() for word in words)
    # A number inside the name would be lost, and with it what tells the concept from its neighbours.
    if not 2 <= len(letters) <= 5 or not letters.isalpha() or any(c.isdigit() for word in words for c in word):
        return None
    return letters + digits


def misspelt(name: str, rng: random.Random) -> str | None:
    """One slip of the pen, in long names sometimes two; never in a word's first letter, in short words or in capitals ("type B" stays)."""
    wrong = _slip(name, rng)
    if wrong and len(name) >= 12 and rng.random() < 0.25:
        return _changed(name, _slip(wrong, rng) or wrong) or wrong  # the second slip may undo the first
    return wrong


def _slip(name: str, rng: random.Random) -> str | None:
    places = [i for word in _WORD.finditer(name) if not word.group().isupper() for i in range(word.start() + 1, word.end())]
    if not places:
        return None
    at = rng.choice(places)
    return _changed(name, rng.choice(_SLIPS)(name, at, rng)) or _double(name, at, rng)


def _swap(name: str, at: int, rng: random.Random) -> str:  # noqa: ARG001
    return name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :] if name[at + 1 : at + 2].isalpha() else name


def _drop(name: str, at: int, rng: random.Random) -> str:  # noqa: ARG001
    return name[:at] + name[at + 1 :]


def _double(name: str, at: int, rng: random.Random) -> str:  # noqa: ARG001
    return name[:at] + name[at] + name[at:]


def _replace(name: str, at: int, rng: random.Random) -> str:
    return name[:at] + rng.choice("aeiourstnlcmpy") + name[at + 1 :]


_SLIPS = (_swap, _drop, _double, _replace)


def word_dropped(name: str, rng: random.Random) -> str | None:
    """A word left out that says little ("Parkinson's disease" to "Parkinson's"), else an inner one of four or more words."""
    words = name.split()
    if len(words) < 2:
        return None
    places = [i for i, word in enumerate(words) if word.lower() in _GENERIC]
    if not places and len(words) >= 4:
        places = [i for i in range(1, len(words) - 1) if len(words[i]) >= 4 and words[i].isalpha()]
    if not places:
        return None
    at = rng.choice(places)
    left = " ".join(words[:at] + words[at + 1 :])
    return left if _WORD.search(left) else None


def number_style(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """ "type II" to "type 2" and back, in the last number of the name."""
    words = name.split()
    for i in range(len(words) - 1, 0, -1):
        other = _ROMAN.get(words[i]) or _ARABIC.get(words[i])
        if other:
            return " ".join([*words[:i], other, *words[i + 1 :]])
    return None


def british(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """ "anemia" to "anaemia", and back."""
    for american, other in _BRITISH.items():
        if other in name:
            return name.replace(other, american)
        if american in name:
            return name.replace(american, other)
    return None


def reworded(name: str, rng: random.Random) -> str | None:  # noqa: ARG001
    """ "kidney cancer" to "renal cancer", and back: the organ before the last word."""
    words = name.split()
    if len(words) < 2:
        return None
    other = _ORGANS.get(words[-2]) or _ADJECTIVES.get(words[-2])
    return " ".join([*words[:-2], other, words[-1]]) if other else None


# How often each change is tried, relative to the others.
CHANGES: dict[Change, int] = {
    lowered: 3, inverted: 3, plural_or_singular: 2, misspelt: 6, word_dropped: 2, number_style: 2, british: 2, reworded: 2,
}  # fmt: skip
_CHANGES, _WEIGHTS = tuple(CHANGES), tuple(CHANGES.values())


def perturb(name: str, rng: random.Random) -> str:
    """The name with one of the changes that apply to it; its case swapped where none does ("CF" gives "cf")."""
    for _ in range(6):
        other = rng.choices(_CHANGES, _WEIGHTS)[0](name, rng)
        if other:
            return other
    return misspelt(name, rng) or name.swapcase()
