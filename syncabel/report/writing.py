"""The files of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncabel.errors import ConfigError
from syncabel.report.figures import paired_with_first
from syncabel.report.markdown import markdown
from syncabel.report.page import page
from syncabel.report.payload import payload
from syncabel.report.source import read_material
from syncabel.report.tables import write_tables

__all__ = ["Written", "write_report"]

_TABLES = "_tables"  # after the page's name: reports beside one another keep their own


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        page, markdown: files.
        tables: CSV files.
        mentions: how many can be looked at.
        bytes: size of the page.
    """

    page: Path
    markdown: Path
    tables: tuple[Path, ...]
    mentions: int
    bytes: int


def write_report(folders: Sequence[Path | str], output: Path | str, *, text: bool = True) -> Written:
    """Write the page, and beside it the same figures as Markdown and, in a folder of its name (`report_tables/` for report.html), as CSV.

    Args:
        folders: of `syncabel evaluate -o`; systems are compared with the first.
        output: the page, a file that ends in .html; its Markdown has the same name.
        text: whether sentences and the texts of mentions go in.

    Raises:
        ConfigError: another ending, or systems that cannot be compared.
        IncompleteFolderError: a folder that is no evaluation.
        FormatError: a file in it is not what it should be.
    """
    output = Path(output)
    if output.suffix != ".html":
        raise ConfigError(f"{output} does not end in .html; the Markdown and the tables are written beside a page of that ending")
    material = read_material(folders)
    beside, tables = output.with_suffix(".md"), output.with_name(f"{output.stem}{_TABLES}")
    paired = paired_with_first(material)
    content = page(
        payload(material, paired, text=text, markdown=beside.name, tables=tables.name), f"Evaluation of {', '.join(system.name for system in material.runs)}"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(content)
    beside.write_bytes(markdown(material, paired).encode(errors="backslashreplace"))
    written = write_tables(material, paired, tables, text=text)
    return Written(output, beside, tuple(written), len(material.first.run.mentions), len(content))
