"""The options of the constrained search, once for all commands that decode."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncabel.linker import model_entry

if TYPE_CHECKING:
    from syncabel.decoding import DecodingSettings

__all__ = ["SearchOptions"]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a model's answers are searched; each field is an option of that name."""

    num_beams: Annotated[int, typer.Option(help="Width of the beam, and most answers a mention.")] = 5
    ranking: Annotated[str | None, typer.Option(help="sum or mean; the model's own where not given.", show_default=False)] = None
    search: Annotated[str, typer.Option(help="greedy, beam, or exact, which proves its first answers.")] = "beam"
    ranks: Annotated[int, typer.Option(help="Of exact: how many ranks are to be proven; at most num-beams.")] = 1
    max_expansions: Annotated[int, typer.Option(help="Of exact: prefixes read for a mention before its answers stay unproven.")] = 64
    max_concepts: Annotated[int, typer.Option(help="Concepts that an answer may be composed of.")] = 1
    nil: Annotated[bool, typer.Option("--nil", help="Offer the lexicon's leaf for mentions that are not in the knowledge base.")] = False

    def settings(self, folder: Path, *, constrained: bool = True) -> "DecodingSettings":
        """As settings for the model in a folder.

        Raises:
            ConfigError: they contradict each other.
            IncompleteFolderError: the folder is no exported model.
            UnknownNameError: no such search or ranking.
        """
        from syncabel.decoding import DecodingSettings, own_ranking

        return DecodingSettings(
            constrained,
            self.num_beams,
            self.ranking or own_ranking(model_entry(folder)),
            search=self.search,
            exact_ranks=self.ranks,
            max_expansions=self.max_expansions,
            max_concepts=self.max_concepts,
            nil=self.nil,
        )
