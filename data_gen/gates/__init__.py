"""Why a generated sentence is not kept, what is recorded of those that are, and how often people would be refused."""

from data_gen.gates.calibration import Calibration, Fired, calibrate
from data_gen.gates.judge import Judge, template_judge
from data_gen.gates.relink import relink, relink_letters, relink_messages, relink_verdict
from data_gen.gates.scores import Score, Scorer
from data_gen.gates.settings import GATE_NAMES, GateSettings
from data_gen.gates.structure import (
    GATES,
    Gate,
    bracket,
    control,
    mention_absent,
    mention_empty,
    mention_is_other_concept,
    reason_against,
    same_sentence,
    too_long,
)

__all__ = [
    "GATES",
    "GATE_NAMES",
    "Calibration",
    "Fired",
    "Gate",
    "GateSettings",
    "Judge",
    "Score",
    "Scorer",
    "bracket",
    "calibrate",
    "control",
    "mention_absent",
    "mention_empty",
    "mention_is_other_concept",
    "reason_against",
    "relink",
    "relink_letters",
    "relink_messages",
    "relink_verdict",
    "same_sentence",
    "template_judge",
    "too_long",
]
