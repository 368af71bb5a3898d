"""A pass in which no gate is asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from drnn.core.block import RecursiveBlock
from drnn.core.gates import Gate, GateDecision, OpenGate, go_on


class _Unasked(nn.Module):
    """Stands for a gate, which an `OpenGate` would say is not there."""

    def forward(self, x: Tensor) -> GateDecision:
        return go_on(x)


@contextmanager
def every_loop(model: nn.Module) -> Iterator[None]:
    """Meanwhile every image executes every loop, and no batch norm of ``model`` moves its running statistics.

    So a network with gates computes, in training, what recursion without gates would with the same weights, and its
    evaluation stays that of the images that the gates let through. Activations that are checkpointed need the backward
    pass in here, too. Gates are away meanwhile: neither copy nor save the network in here.

    Example:
        >>> import torch
        >>> from drnn.models import create_model
        >>> model = create_model("dr_resnet_digits").train()
        >>> with every_loop(model):
        ...     logits, gates = model.forward_with_gates(torch.zeros(2, 1, 8, 8))
        >>> gates.executed.sum(1).tolist()
        [6, 6]
    """
    gates = [
        (block, name, gate)
        for block in model.modules()
        for name, gate in block.named_children()
        if isinstance(gate, Gate) or (isinstance(block, RecursiveBlock) and name == "gate")
        if not isinstance(gate, OpenGate)
    ]
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for block, name, _ in gates:
        setattr(block, name, _Unasked())
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for block, name, gate in gates:
            setattr(block, name, gate)
        for norm in norms:
            norm.track_running_stats = True
