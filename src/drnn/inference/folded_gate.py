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
    hidden_weight: Tensor | None
    hidden_bias: Tensor

    @torch.no_grad()
    def __init__(self, gate: Gate):
        super().__init__(gate.scorer, gate.decide)
        self.threshold.copy_(gate.threshold)
        hidden = isinstance(gate.scorer, HiddenScorer)
        weight, bias = _parameters(gate.scorer.get_submodule("fc2" if hidden else "fc"))
        self.register_buffer("weight", (weight[1:] - weight[:1]).t())
        self.register_buffer("bias", bias[1:] - bias[:1])
        weight, bias = _parameters(gate.scorer.get_submodule("fc1")) if hidden else (None, None)
        self.register_buffer("hidden_weight", None if weight is None else weight.t())
        self.register_buffer("hidden_bias", bias)

    def forward(self, x: Tensor) -> GateDecision:
        """Ask whether each image of x ``(N, C, H, W)`` goes on."""
        refuse_training(self)
        margin = self.margin(x)
        return GateDecision(margin, margin - self.threshold)

    def margin(self, x: Tensor) -> Tensor:
        """Of each image ``(N,)``.

        In the plainest calls: for one image they take half the time of layers, and pooling half that of a mean.
        """
        pooled = nn.functional.avg_pool2d(x, x.shape[2:]).flatten(1)
        if self.hidden_weight is not None:
            pooled = torch.addmm(self.hidden_bias, pooled, self.hidden_weight).relu_()
        return torch.addmm(self.bias, pooled, self.weight)[:, 0]


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    return layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach()
