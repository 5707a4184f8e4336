"""How good answers are: named protocols, document-level intervals and tests, strata, and a ledger in which every miss has one cause.

`judged` judges a mention, `report` counts the judged ones, `run` writes them into a folder; `protocols` says what is right, `ranking`, `averages` and
`nil` how that is summed up, `syncabel.bootstrap` how sure it is, `strata` on which mentions, `ledger` why not, `hierarchy` how nearly, `confidence` whether
the system knew, `compare` which of two is better.  `linked` reads prediction files, `tsv` the published table format, `belb` BELB's.
"""

from syncabel.bootstrap import PairedDifference, document_interval, paired_difference, sign_flip_test
from syncabel.evaluate.belb import BelbReport, belb_json, evaluate_belb
from syncabel.evaluate.characters import IOU_RULES, CharacterIou, CodedSpan, ConceptIou, character_iou
from syncabel.evaluate.compare import (
    Comparison,
    Difference,
    Pair,
    SystemScore,
    compare_pair,
    compare_strata,
    compare_systems,
    comparison_json,
    difference_json,
    holm,
    mcnemar,
)
from syncabel.evaluate.confidence import ConfidenceReport, ReliabilityBin, RiskPoint, chosen_confidence, confidence_json, confidence_report
from syncabel.evaluate.end_to_end import (
    Ablation,
    AnnotationSet,
    EndToEndReport,
    NoteScores,
    OnMatched,
    annotations_of,
    end_to_end_json,
    evaluate_end_to_end,
    linked_annotations,
    read_annotations,
)
from syncabel.evaluate.hierarchy import HierarchyReport
from syncabel.evaluate.judged import Candidate, JudgedMention, judge_mentions
from syncabel.evaluate.ledger import CAUSES, Cause, LedgerLine
from syncabel.evaluate.linked import aligned, read_linked
from syncabel.evaluate.nil import NilScores, nil_scores
from syncabel.evaluate.protocols import PROTOCOLS, Protocol
from syncabel.evaluate.report import Cell, Miss, Report, evaluate, report_json, scores_of
from syncabel.evaluate.run import ConceptFacts, EvaluationRun, Sentence, read_run, write_run
from syncabel.evaluate.spans import Annotation, Estimate, GroupScores, Rates, SpanScores, entity_scores, iob2_entities, match
from syncabel.evaluate.strata import STRATA, Seen
from syncabel.evaluate.tsv import (
    TsvReport,
    TsvRow,
    TsvTable,
    compare_table_strata,
    compare_tables,
    compare_tsv,
    evaluate_tsv,
    judge_json,
    paired_json,
    read_tsv,
    tsv_json,
)
from syncabel.evaluate.tsv_strata import TABLE_STRATA, TrainingMentions, read_training_mentions, table_strata, table_strata_json

__all__ = [
    "CAUSES",
    "IOU_RULES",
    "PROTOCOLS",
    "STRATA",
    "TABLE_STRATA",
    "Ablation",
    "Annotation",
    "AnnotationSet",
    "BelbReport",
    "Candidate",
    "Cause",
    "Cell",
    "CharacterIou",
    "CodedSpan",
    "Comparison",
    "ConceptFacts",
    "ConceptIou",
    "ConfidenceReport",
    "Difference",
    "EndToEndReport",
    "Estimate",
    "EvaluationRun",
    "GroupScores",
    "HierarchyReport",
    "JudgedMention",
    "LedgerLine",
    "Miss",
    "NilScores",
    "NoteScores",
    "OnMatched",
    "Pair",
    "PairedDifference",
    "Protocol",
    "Rates",
    "ReliabilityBin",
    "Report",
    "RiskPoint",
    "Seen",
    "Sentence",
    "SpanScores",
    "SystemScore",
    "TrainingMentions",
    "TsvReport",
    "TsvRow",
    "TsvTable",
    "aligned",
    "annotations_of",
    "belb_json",
    "character_iou",
    "chosen_confidence",
    "compare_pair",
    "compare_strata",
    "compare_systems",
    "compare_table_strata",
    "compare_tables",
    "compare_tsv",
    "comparison_json",
    "confidence_json",
    "confidence_report",
    "difference_json",
    "document_interval",
    "end_to_end_json",
    "entity_scores",
    "evaluate",
    "evaluate_belb",
    "evaluate_end_to_end",
    "evaluate_tsv",
    "holm",
    "iob2_entities",
    "judge_json",
    "judge_mentions",
    "linked_annotations",
    "match",
    "mcnemar",
    "nil_scores",
    "paired_difference",
    "paired_json",
    "read_annotations",
    "read_linked",
    "read_run",
    "read_training_mentions",
    "read_tsv",
    "report_json",
    "scores_of",
    "sign_flip_test",
    "table_strata",
    "table_strata_json",
    "tsv_json",
    "write_run",
]
