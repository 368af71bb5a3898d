"""The loss that holds the gates to a rate."""

import torch
from torch import Tensor

from drnn.core.record import GateRecord


def target_rate_loss(record: GateRecord, target: float) -> Tensor:
    """Mean over the T gates of ``(executed / arrived - target)^2``: the rate is conditional on arriving.

    A gate that no image reached adds nothing. The gradient is the straight-through one of ``record.decision``.

    Args:
        record: of N images and T >= 1 loop slots.
        target: the share of arriving images that should execute, in 0..1.

    Returns:
        A scalar.

    Raises:
        ValueError: no loop slots, or a target outside 0..1.

    Source: ConvNet-AIG's rate loss, on the conditional rate: E[loops] of a block is the sum of target^i (Figure 8).
    """
    whole = torch.promote_types(record.decision.dtype, torch.float32)  # half precision cannot count
    return rate_loss(record.decision.sum(0, dtype=whole), record.arrived.sum(0), target)


def rate_loss(executed: Tensor, arrived: Tensor, target: float) -> Tensor:
    """`target_rate_loss` from counts of images ``(T,)``: that executed, differentiable, and that arrived."""
    if executed.shape[0] == 0:
        raise ValueError("this network has no loop slots (T = 0), so no rate to hold; leave the rate loss out")
    if not 0 <= target <= 1:
        raise ValueError(f"target rate {target} received; a rate lies between 0 and 1")
    return ((executed / arrived.clamp(min=1) - target) ** 2 * (arrived > 0)).mean()
