"""Bring a lexicon to a changed knowledge base; names that stand in it already are not tokenised again.

A name's token ids are its path in the old trie.  All else is done as for a new lexicon, which the result therefore equals: a change
of the knowledge base reaches further than the names that came and went, since two concepts that come to share a name are told
apart, and one that is left alone with it gets it bare.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from syncabel.kb import KnowledgeBase
from syncabel.lexicon.build import lexicon_from
from syncabel.lexicon.leaves import Alike
from syncabel.lexicon.store import Lexicon
from syncabel.lexicon.tokenise import BLOCK, TokenCache, TokenRows, token_rows
from syncabel.strings import StringTable

__all__ = ["LexiconUpdate", "update_lexicon"]


@dataclass(frozen=True, eq=False)
class LexiconUpdate:
    """A lexicon made from an older one.

    Attributes:
        old: it was made from this one.
        lexicon: equal to one built anew.
        account: what became of the names that could not stand as they are.
        new_number: the new entry number of each old entry, −1 where no leaf has its name and code any more. Shape: (old entries,).
        tokenised: how many names were given to the tokenizer.
    """

    old: Lexicon
    lexicon: Lexicon
    account: list[Alike]
    new_number: NDArray[np.int64]
    tokenised: int

    @property
    def retired(self) -> NDArray[np.int64]:
        """Entries of the old lexicon that are gone, ascending."""
        return np.flatnonzero(self.new_number < 0)

    @property
    def added(self) -> NDArray[np.int64]:
        """Entries of the new lexicon that the old one does not have, ascending."""
        return np.setdiff1d(np.arange(len(self.lexicon)), self.new_number, assume_unique=False)

    def changes(self) -> Iterator[dict[str, str]]:
        """A row for each retired and then each added leaf. Keys: change (`retired` or `added`), name, code."""
        for change, lexicon, entries in (("retired", self.old, self.retired), ("added", self.lexicon, self.added)):
            for entry in entries.tolist():
                yield {"change": change, "name": lexicon.name(entry), "code": lexicon.code(entry)}


def update_lexicon(old: Lexicon, kb: KnowledgeBase, tokenizer: Any, cache: Path | None = None, notice: Callable[[str], None] = lambda _: None) -> LexiconUpdate:
    """The lexicon of a changed knowledge base, with the token ids that an older lexicon has; its NIL leaf stays.

    Args:
        old: a lexicon for the same tokenizer, of an earlier edition or of any other knowledge base.
        kb: the knowledge base as it is now.
        tokenizer: the one of `old`.
        cache: as `build_lexicon` has it, for the names that are new.
        notice: as `build_lexicon` has it.

    Raises:
        TokenizerMismatchError: the tokenizer is another one.
        ConfigError: as `build_lexicon` raises it.
    """
    old.check_tokenizer(tokenizer)
    known = _Known(old)

    def tokenise(names: pl.Series) -> TokenRows:
        return token_rows(names, tokenizer) if cache is None else TokenCache(cache, notice).rows(names, tokenizer)

    lexicon, account = lexicon_from(kb, tokenizer, lambda names: known.rows(names, tokenise), old.header.get("nil"))
    return LexiconUpdate(old, lexicon, account, _new_numbers(old, lexicon), known.missed)


class _Known:
    """Token ids of a lexicon's names.

    Attributes:
        missed: names that were asked for and are not among them.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        entries = lexicon.trie.entries()
        self._rows = TokenRows(entries.tokens.astype(np.int32, copy=False), entries.offsets.astype(np.int64, copy=False))
        self._places = pl.DataFrame({"name": _column(lexicon.names)}).with_row_index("place")
        self.missed = 0

    def rows(self, names: pl.Series, tokenise: Callable[[pl.Series], TokenRows]) -> TokenRows:
        """The ids of names, those unknown by `tokenise`."""
        found = pl.DataFrame({"name": names}).join(self._places, on="name", how="left", maintain_order="left")["place"]
        new = found.is_null().to_numpy()
        self.missed += int(new.sum())
        places = found.cast(pl.Int64).fill_null(-1).to_numpy().copy()
        places[new] = len(self._rows) + np.arange(int(new.sum()))
        return self._rows.joined_with(tokenise(names.filter(new))).take(places)


def _column(table: StringTable) -> pl.Series:
    """The strings as a column; a block of them at a time is Python objects."""
    blocks = [pl.Series([table[i] for i in range(start, min(start + BLOCK, len(table)))], dtype=pl.String) for start in range(0, len(table), BLOCK)]
    return pl.concat(blocks) if blocks else pl.Series([], dtype=pl.String)


def _leaves(lexicon: Lexicon) -> pl.DataFrame:
    return pl.DataFrame({"name": _column(lexicon.names), "code": _column(lexicon.codes).gather(np.asarray(lexicon.entry_code))})


def _new_numbers(old: Lexicon, new: Lexicon) -> NDArray[np.int64]:
    """The entry of `new` with the name and code of each entry of `old`, or −1. Shape: (old entries,)."""
    numbered = _leaves(new).with_columns(new=pl.int_range(pl.len(), dtype=pl.Int64))
    joined = _leaves(old).join(numbered, on=["name", "code"], how="left", maintain_order="left")
    return joined["new"].fill_null(-1).to_numpy()
