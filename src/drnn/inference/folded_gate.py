"""A gate in fewer calls: at batch 1 its time goes into calls, and one is asked before every loop."""

import torch
from torch import Tensor, nn

from drnn.core import Deterministic, Gate, GateDecision, HiddenScorer, LinearScorer, TrainingNoise
from drnn.core.gates import without_autocast
from drnn.inference.folded_blocks import refuse_folded_training


def can_fold(gate: nn.Module) -> bool:
    """Whether a module is a gate that decides without noise in evaluation, with one of the scorers of the core."""
    return (
        type(gate) is Gate
        and type(gate.decide) in (Deterministic, TrainingNoise)
        and type(gate.scorer) in (HiddenScorer, LinearScorer)
        and all(isinstance(layer, nn.Linear) for layer in gate.scorer.children())  # not one of a quantised network
    )


def keep_threshold(gate: Gate) -> None:
    """Make a gate's threshold part of its ``state_dict``: in the deployment form it says as much as the weights."""
    gate.register_buffer("threshold", gate.threshold)


class FoldedGate(Gate):
    """A `Gate` whose last layer gives the margin itself, the difference of its two rows. For evaluation only.

    Its layers are two or four tensors with memory of their own, and its threshold is part of its ``state_dict``.

    Args:
        decide: the way the gate decides.
        threshold: ``()``; the gate takes a copy, so that its dial is its own.
        layers: ``weight`` ``(C or hidden, 1)`` and ``bias`` ``(1,)`` of the margin; of a hidden layer, where there is
            one, ``hidden_weight`` ``(C, hidden)`` and ``hidden_bias`` ``(hidden,)``.
    """

    weight: Tensor
    bias: Tensor
    hidden_weight: Tensor | None
    hidden_bias: Tensor

    def __init__(self, decide: nn.Module, threshold: Tensor, layers: dict[str, Tensor]):
        super().__init__(nn.Identity(), decide)
        for name in ("weight", "bias", "hidden_weight", "hidden_bias"):
            self.register_buffer(name, layers.get(name))
        self.register_buffer("threshold", threshold.clone())

    @staticmethod
    def of(gate: Gate) -> "FoldedGate":
        """Fold a gate for which `can_fold` holds."""
        return FoldedGate(gate.decide, gate.threshold, _layers(gate.scorer))

    def layers(self) -> dict[str, Tensor]:
        """The tensors themselves, by name; two where there is no hidden layer."""
        return {name: tensor for name, tensor in self.named_buffers(recurse=False) if name != "threshold"}

    def ask(self, x: Tensor) -> GateDecision:
        """Its answer before the threshold moves it, for images x ``(N, C, H, W)``."""
        refuse_folded_training(self)
        margin = without_autocast(self.margin, x, (self.weight,))
        return GateDecision(margin, margin)

    def margin(self, x: Tensor) -> Tensor:
        """Of each image ``(N,)``.

        In the plainest calls: for one image they take half the time of layers, and pooling half that of a mean.
        """
        pooled = nn.functional.avg_pool2d(x, x.shape[2:]).flatten(1)
        if self.hidden_weight is not None:
            pooled = torch.addmm(self.hidden_bias, pooled, self.hidden_weight).relu_()
        return torch.addmm(self.bias, pooled, self.weight)[:, 0]


def _layers(scorer: nn.Module) -> dict[str, Tensor]:
    """What `FoldedGate` takes, of one of the scorers of the core."""
    hidden = isinstance(scorer, HiddenScorer)
    weight, bias = _parameters(scorer.get_submodule("fc2" if hidden else "fc"))
    layers = {"weight": (weight[1:] - weight[:1]).t().contiguous(), "bias": bias[1:] - bias[:1]}
    if hidden:
        weight, bias = _parameters(scorer.get_submodule("fc1"))
        layers |= {"hidden_weight": weight.t().contiguous(), "hidden_bias": bias.clone()}
    return layers


def _parameters(layer: nn.Module) -> tuple[Tensor, Tensor]:
    return layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach()
