"""ConvNet-AIG (Veit & Belongie, ECCV 2018): every residual block has a gate of its own and runs at most once."""

import torch
from torch import Tensor, nn

from drnn.core import AlwaysNoisy, Gate
from drnn.core.gates import start_executing
from drnn.core.modes import is_traced
from drnn.core.record import LoopStep, report
from drnn.models.blocks import ResidualBlock


class AIGScorer(nn.Module):
    """Global average pool, FC(C, 16), BatchNorm, ReLU, FC(16, 2). ``(N, C, H, W) -> (N, 2)``."""

    def __init__(self, in_channels: int, hidden: int = 16):
        super().__init__()
        self.fc1, self.bn, self.fc2 = nn.Linear(in_channels, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2)
        start_executing(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Score x ``(N, C, H, W)``."""
        return self.fc2(torch.relu(self.bn(self.fc1(x.mean((2, 3))))))


class AdaptiveBlock(nn.Module):
    """``relu(a * branch(x) + shortcut(x))`` with a the gate's decision; one loop slot.

    Training computes every image, as its authors do; evaluation computes the branch only where it executes,
    which their code does not.
    """

    num_loops = 1

    def __init__(self, body: ResidualBlock, in_channels: int):
        super().__init__()
        self.body, self.gate, self.dense = body, Gate(AIGScorer(in_channels), AlwaysNoisy()), False

    def set_dense(self, dense: bool) -> None:
        """Choose masking (no data-dependent shapes) or skipping for evaluation."""
        self.dense = dense

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``; reports ``(N, 1)``, as `RecursiveBlock` does."""
        answer = self.gate(x)
        report(lambda: LoopStep(answer).expand(x.shape[0]), learns=self.training)
        shortcut = self.body.shortcut(x)
        if self.training or self.dense or is_traced():
            decides = answer.decision if self.training else answer.executes
            return torch.relu(decides[:, None, None, None] * self.body.branch(x) + shortcut)
        rows = answer.executes.nonzero()[:, 0]
        if len(rows) == 0:
            return torch.relu(shortcut)
        branch = self.body.branch(x if len(rows) == len(x) else x[rows])
        return torch.relu(shortcut.index_add(0, rows, branch))
