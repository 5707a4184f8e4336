"""`syncabel report`: evaluations as a page to look at."""

from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli.console import out

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of `syncabel evaluate -o`; the first is what the others are compared with.", metavar="RUN…")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page: FILE.html; FILE.md and FILE_tables/ go beside it.")],
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave out sentences and the texts of mentions; the page says so.")] = False,
) -> None:
    """Write evaluations as one page that needs no network: figures, every mention to look at, what one run fixes and breaks against another.

    Beside FILE.html the same figures are written as FILE.md, and as CSV in FILE_tables/ (headline, metrics, strata, cells, ledger, confusion, hierarchy,
    confidence, misses, changes).  The page and FILE_tables/misses.csv hold text of the corpus unless --no-text is given.
    """
    from syncabel.report import write_report
    from syncabel.report.page import size_in_words

    written = write_report(runs, output, text=not no_text)
    holds = "no text of the corpus" if no_text else "text of the corpus; --no-text leaves it out"
    out.print(f"{written.page}: {size_in_words(written.bytes)}, {written.mentions:,} mentions; holds {holds}")
    out.print(f"{written.markdown}, and {len(written.tables)} tables in {written.page.with_name(f'{written.page.stem}_tables')}")
