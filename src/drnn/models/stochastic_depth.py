"""Stochastic depth (Huang et al., ECCV 2016): a block's branch is dropped for a whole mini-batch while training."""

import torch
from torch import Tensor, nn

from drnn.models.blocks import ResidualBlock


class StochasticBlock(nn.Module):
    """``relu(b * branch(x) + shortcut(x))``: b is 1 with probability ``survival``, else 0, drawn once a mini-batch.

    In evaluation b is ``survival`` itself. A dropped branch is not computed; its parameters still get a gradient
    (zero), which distributed training needs.

    Args:
        body: the block whose branch may be dropped.
        survival: in (0, 1]; falls linearly with depth to 0.5 in its paper.
    """

    def __init__(self, body: ResidualBlock, survival: float):
        super().__init__()
        if not 0 < survival <= 1:
            raise ValueError(f"survival probability {survival} received; it lies in (0, 1]")
        self.body, self.survival = body, survival

    def extra_repr(self) -> str:
        """What its modules do not tell."""
        return f"survival={self.survival:g}"

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        shortcut = self.body.shortcut(x)
        if not self.training:
            return torch.relu(self.survival * self.body.branch(x) + shortcut)
        if torch.rand(()) < self.survival:
            return torch.relu(self.body.branch(x) + shortcut)
        nothing = sum(parameter.sum() * 0 for parameter in self.body.parameters())
        return torch.relu(shortcut + nothing)


def survival_at(block: int, num_blocks: int, last: float = 0.5) -> float:
    """The linear decay rule: 1 before the first block, ``last`` at the last. ``block`` is 0-based."""
    return 1 - (block + 1) / num_blocks * (1 - last)
