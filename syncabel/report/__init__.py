"""Evaluations to look at: one page that needs no network, the same figures as Markdown and CSV.

`source` reads the folders that `syncabel evaluate -o` writes and refuses systems that were scored on different mentions; `figures` counts what
those folders do not state; `payload` is what the page holds, `page` the page, `tables` and `markdown` what lies beside it.
"""

from syncabel.report.source import Material, System, read_material
from syncabel.report.writing import Written, write_report

__all__ = ["Material", "System", "Written", "read_material", "write_report"]
