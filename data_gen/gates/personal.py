"""What looks like a person's data: addresses, telephone, record and identity numbers.

A model repeats such things from what it was trained on, or makes them up so well that nobody can tell.  Numbers that medicine
is full of (doses, p-values, years, catalogue and registry numbers) must pass, so a bare number needs its cue or its check digits.
"""

import re
from collections.abc import Callable, Iterator

from syncabel.types import Document

__all__ = ["personal_data", "personal_kinds"]

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+\s?@\s?\w[\w-]*(?:\.\w[\w-]*)*\.[a-z]{2,}\b", re.IGNORECASE)
_PERSONAL_PAGE = re.compile(
    r"https?://\S{1,200}?/~\w|"
    r"(?:linkedin\.com/in|orcid\.org|researchgate\.net/profile|facebook\.com|instagram\.com|(?:\btwitter|\bx)\.com)/[^\s\w]*\w",
    re.IGNORECASE,
)
# A telephone number is called one, begins with "+", or is written as one and nothing else is: "(617) 555-0123", "617-555-0123", "06 12 34 56 78".
_CUED_PHONE = re.compile(
    r"\b(?:tel|tél|phone|telephone|téléphone|teléfono|telf|tfno|mobile|móvil|portable|fax|pager|call|appele[rz]|llam[ae])\b[^\w\n]{0,3}"
    r"(?:(?:number|no|nr|numéro|número|nº|is|at|on|us|me|est|au|es|al)\b[^\w\n]{0,3}){0,3}[+(]?\d(?:[ ().\-/]{0,2}\d){6,14}(?!\d)",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w.+])(?:\+\d{1,3}(?:[ ().-]{0,2}\d){8,12}|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}([-.])\d{3}\1\d{4}|0[1-9](?:([ .-])\d\d)(?:\2\d\d){3})(?![\w-]|\.\d)"
)
_RECORD = re.compile(
    r"\b(?:MRN|NHC|medical record|record (?:number|no|id)|patient (?:number|no|id)|hospital (?:number|no|id)|chart (?:number|no)|"
    r"(?:numéro|n°) (?:de )?(?:dossier|patient)|dossier (?:n°|numéro)|(?:IPP|NIP)(?= ?(?::|n°|#))|"
    r"(?:número|n\.?º|nº) de (?:historia|expediente)(?: clínica)?|historia clínica)\b"
    r"[^\w\n]{0,4}(?:(?:number|no|num|numéro|número|n|is|was|es|est)\b[^\w\n]{0,4}){0,2}(?=[A-Z]{0,3}[-/]?\d)[A-Z]{0,3}[-/]?\d[\d\-/]{3,}",
    re.IGNORECASE,
)
_BIRTH = re.compile(
    r"\b(?:d\.?o\.?b\.?|date of birth|born on|date de naissance|née? le|fecha de nacimiento|nacid[oa] el)\b"
    r"[^\w\n]{0,3}\d{1,4}[/. -](?:\d{1,2}|\w{3,10})[/. -]\d{2,4}",
    re.IGNORECASE,
)
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_NIR = re.compile(r"(?<![\w.])([12]) ?(\d\d) ?(0[1-9]|1[0-2]|[2-4]\d) ?(\d\d|2[AB]) ?(\d{3}) ?(\d{3}) ?(\d\d)(?![\w])")
_DNI = re.compile(r"(?<![\w-])([XYZ]?)[ -]?(\d{7,8})[ -]?([A-HJ-NP-TV-Z])(?![\w-])")
_CUED_DNI = re.compile(r"\b(?:DNI|NIF|NIE)\b[^\w\n]{0,4}[XYZ]?-?\d[\d.]{6,9}", re.IGNORECASE)
_IBAN = re.compile(r"(?<!\w)([A-Z]{2}\d\d)((?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)(?!\w)")
_CUED_IBAN = re.compile(r"\bIBAN\b[^\w\n]{0,3}[A-Z]{2}\d\d", re.IGNORECASE)
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def personal_data(document: Document) -> str | None:
    """A pattern of personal data."""
    return "personal_data" if next(personal_kinds(document.text), None) else None


def personal_kinds(text: str) -> Iterator[str]:
    """Which kinds of personal data a text seems to hold; the data itself is not given out."""
    return (kind for kind, found in _KINDS.items() if found(text))


def _has(*patterns: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: any(pattern.search(text) for pattern in patterns)


def _has_nir(text: str) -> bool:
    """A French social security number whose key is right, or that is written in its seven groups."""
    return any(" " in match.group() or _nir_key_fits(match) for match in _NIR.finditer(text))


def _nir_key_fits(match: re.Match[str]) -> bool:
    # Corsican departments count as 19 and 18.
    number = "".join(match.groups()[:6]).replace("2A", "19").replace("2B", "18")
    return int(match.group(7)) == 97 - int(number) % 97


def _has_dni(text: str) -> bool:
    """A Spanish identity number whose letter is right: eight digits, or X, Y, Z and seven."""
    return any(_dni_letter_fits(*match.groups()) for match in _DNI.finditer(text)) or _CUED_DNI.search(text) is not None


def _dni_letter_fits(foreign: str, digits: str, letter: str) -> bool:
    if len(digits) != (7 if foreign else 8):
        return False
    return _DNI_LETTERS[int(("XYZ".index(foreign) if foreign else 0) * 10**7 + int(digits)) % 23] == letter


def _has_iban(text: str) -> bool:
    """An account number whose check digits are right (ISO 13616), or one that is called IBAN."""
    return any(_iban_fits(*match.groups()) for match in _IBAN.finditer(text)) or _CUED_IBAN.search(text) is not None


def _iban_fits(head: str, rest: str) -> bool:
    account = rest.replace(" ", "")
    return 11 <= len(account) <= 30 and int("".join(str(int(c, 36)) for c in account + head)) % 97 == 1


_KINDS: dict[str, Callable[[str], bool]] = {
    "e-mail": _has(_EMAIL),
    "personal page": _has(_PERSONAL_PAGE),
    "telephone": _has(_CUED_PHONE, _PHONE),
    "record number": _has(_RECORD),
    "date of birth": _has(_BIRTH),
    "SSN": _has(_SSN),
    "NIR": _has_nir,
    "DNI": _has_dni,
    "IBAN": _has_iban,
}
