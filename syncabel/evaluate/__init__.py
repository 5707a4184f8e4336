"""How good answers are: named protocols, document-level intervals and tests, strata, and a ledger in which every miss has one cause.

`report` scores documents and predictions, `tsv` the published table format, `belb` BELB's; `protocols` says what is right,
`syncabel.bootstrap` how sure that is, `strata` on which mentions, `ledger` why not, `linked` reads prediction files.
"""

from syncabel.bootstrap import PairedDifference, document_interval, paired_difference, sign_flip_test
from syncabel.evaluate.belb import BelbReport, belb_json, evaluate_belb
from syncabel.evaluate.ledger import CAUSES, Cause, LedgerLine
from syncabel.evaluate.linked import aligned, read_linked
from syncabel.evaluate.protocols import PROTOCOLS, Protocol
from syncabel.evaluate.report import Cell, Miss, Report, evaluate, report_json, scores_of
from syncabel.evaluate.strata import Seen
from syncabel.evaluate.tsv import TsvReport, TsvRow, TsvTable, compare_tsv, evaluate_tsv, read_tsv, tsv_json

__all__ = [
    "CAUSES",
    "PROTOCOLS",
    "BelbReport",
    "Cause",
    "Cell",
    "LedgerLine",
    "Miss",
    "PairedDifference",
    "Protocol",
    "Report",
    "Seen",
    "TsvReport",
    "TsvRow",
    "TsvTable",
    "aligned",
    "belb_json",
    "compare_tsv",
    "document_interval",
    "evaluate",
    "evaluate_belb",
    "evaluate_tsv",
    "paired_difference",
    "read_linked",
    "read_tsv",
    "report_json",
    "scores_of",
    "sign_flip_test",
    "tsv_json",
]
