"""The idea, alone: a block that loops, a gate that stops it, norms that know the loop. Torch only."""

from drnn.core.block import RecursiveBlock
from drnn.core.every_loop import every_loop
from drnn.core.gates import (
    AlwaysNoisy,
    Deterministic,
    Gate,
    GateDecision,
    HiddenScorer,
    LinearScorer,
    OpenGate,
    TrainingNoise,
    gates_of,
)
from drnn.core.loss import rate_loss, target_rate_loss
from drnn.core.norms import ILVBN2d, LoopGroups, LVBN2d, SharedBatchNorm2d
from drnn.core.record import GateRecord, collected
from drnn.core.thresholds import set_thresholds, thresholds_at, thresholds_of

__all__ = [
    "AlwaysNoisy",
    "Deterministic",
    "Gate",
    "GateDecision",
    "GateRecord",
    "HiddenScorer",
    "ILVBN2d",
    "LVBN2d",
    "LinearScorer",
    "LoopGroups",
    "OpenGate",
    "RecursiveBlock",
    "SharedBatchNorm2d",
    "TrainingNoise",
    "collected",
    "every_loop",
    "gates_of",
    "rate_loss",
    "set_thresholds",
    "target_rate_loss",
    "thresholds_at",
    "thresholds_of",
]
