"""A gate in fewer calls: at batch 1 its time goes into calls, and one is asked before every loop."""

import torch
from torch import Tensor, nn

from drnn.core import Deterministic, Gate, GateDecision, HiddenScorer, LinearScorer, TrainingNoise
from drnn.inference.folded_blocks import refuse_training


def can_fold(gate: nn.Module) -> bool:
    """Whether a module is a gate that decides without noise in evaluation, with one of the scorers of the core."""
    return (
        type(gate) is Gate
        and type(gate.decide) in (Deterministic, TrainingNoise)
        and type(gate.scorer) in (HiddenScorer, LinearScorer)
    )


class FoldedGate(Gate):
    """A `Gate` whose last layer gives the margin itself, the difference of its two rows. For evaluation only.

    Args:
        gate: one for which `can_fold` holds.
    """

    weight: Tensor
    bias: Tensor

    @torch.no_grad()
    def __init__(self, gate: Gate):
        super().__init__(gate.scorer, gate.decide)
        self.threshold.copy_(gate.threshold)
        hidden = isinstance(gate.scorer, HiddenScorer)
        last = gate.scorer.get_submodule("fc2" if hidden else "fc")
        weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
        self.first = nn.Sequential(gate.scorer.get_submodule("fc1"), nn.ReLU(inplace=True)) if hidden else nn.Identity()
        self.register_buffer("weight", weight[1:] - weight[:1])
        self.register_buffer("bias", bias[1:] - bias[:1])

    def forward(self, x: Tensor) -> GateDecision:
        """Ask whether each image of x ``(N, C, H, W)`` goes on."""
        refuse_training(self)
        margin = nn.functional.linear(self.first(x.mean((2, 3))), self.weight, self.bias)[:, 0]
        return GateDecision(margin, margin - self.threshold)
