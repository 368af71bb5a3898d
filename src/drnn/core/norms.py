"""Batch normalisation inside a block that loops: shared, one per loop (LVBN), and per decision (I-LVBN).

Every norm here is called as ``norm(x, loop, groups)`` with x ``(N, C, H, W)``, the 0-based loop, and the
groups the gate split the batch into (None where every image executes; always ignored in evaluation).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from drnn.core.groups import LoopGroups, NormalizeGroups, group_moments

KNOW_NO_LOOPS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.Identity)  # these alone: classes made of them may know
FROZEN = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")  # of torchvision and timm
LEAVING = LoopGroups(arrives=True, executes=False)
"""Every image of the batch leaves at this loop; None says the same of a batch that executes it."""


def is_frozen(layer: object) -> bool:
    """Whether it is a norm whose statistics, weight and bias stay what they are, by the name of its class."""
    return type(layer).__name__ in FROZEN


def normalise(norm: nn.Module, x: Tensor, loop: int, groups: LoopGroups | None) -> Tensor:
    """``norm(x, loop, groups)``, or ``norm(x)`` of one that knows no loops.

    As torch, torchvision and timm put it in the place of ours to synchronise or freeze it. In training such a norm in
    a gated block takes its statistics over whatever it is given, images that leave included.
    """
    if type(norm) in KNOW_NO_LOOPS or is_frozen(norm):
        return norm(x)
    return norm(x, loop, groups)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """One BatchNorm for all loops: the naive recursion (Table 3, row 1), and the norm of ordinary blocks."""

    needs_every_image: ClassVar[bool] = True

    def forward(self, input: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """Normalise ``input (N, C, H, W)`` with the one set of statistics, whatever the loop."""
        return super().forward(input)


class LVBN2d(nn.Module):
    """Loopy Variable Batch Normalization: a complete BatchNorm (gamma, beta, mean, variance) for every loop.

    In training each takes its statistics over the whole batch it is given, images that left included.

    Args:
        num_features: C.
        num_loops: how often the block may loop, L.

    Raises:
        IndexError: a loop outside ``0..num_loops - 1``.

    Source: introduction and Table 3 of the paper.
    """

    needs_every_image: ClassVar[bool] = True

    def __init__(self, num_features: int, num_loops: int):
        super().__init__()
        self.loops = nn.ModuleList(self.make_norm(num_features) for _ in range(num_loops))

    def make_norm(self, num_features: int) -> nn.BatchNorm2d:
        """The norm of one loop."""
        return SharedBatchNorm2d(num_features)

    def forward(self, x: Tensor, loop: int, groups: LoopGroups | None = None) -> Tensor:
        """Normalise x ``(N, C, H, W)`` as loop number ``loop``."""
        if not 0 <= loop < len(self.loops):
            raise IndexError(
                f"loop {loop} asked of a norm with {len(self.loops)} loops; 0-based, so 0..{len(self.loops) - 1}"
            )
        return normalise(self.loops[loop], x, loop, groups)


class ILVBN2d(LVBN2d):
    """Improved LVBN: in training, images that execute a loop and images that leave there are normalised apart.

    Each group is normalised by its own batch statistics and only the executing group moves the running
    statistics that evaluation uses; images that left earlier belong to neither. See `DecisionBatchNorm2d`.
    """

    needs_every_image: ClassVar[bool] = False

    def make_norm(self, num_features: int) -> nn.BatchNorm2d:
        """The norm of one loop, which keeps both groups apart."""
        return DecisionBatchNorm2d(num_features)


class DecisionBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the gate's two groups.

    A group with at most one value per channel is normalised by the running statistics and moves nothing.
    ``skipped_mean`` and ``skipped_var`` ``(C,)`` follow the leaving group for Figure 7; nothing is computed from them.
    ``momentum`` None keeps plain averages over the batches that had a group, as torch's norms do; with
    ``track_running_stats`` False nothing moves, as in those.

    Source: Section 1 (I-LVBN normalises by the gate's decision) and Figure 7; the exact rule is this project's choice.
    """

    needs_every_image: ClassVar[bool] = False
    num_batches_tracked: Tensor
    skipped_mean: Tensor
    skipped_var: Tensor
    skipped_num_batches_tracked: Tensor

    def __init__(self, num_features: int):
        super().__init__(num_features)
        self.register_buffer("skipped_mean", torch.zeros(num_features))
        self.register_buffer("skipped_var", torch.ones(num_features))
        self.register_buffer("skipped_num_batches_tracked", torch.zeros((), dtype=torch.long), persistent=False)

    def _apply(self, fn, recurse=True):
        blank = self.skipped_num_batches_tracked.is_meta
        super()._apply(fn, recurse)
        if blank and not self.skipped_num_batches_tracked.is_meta:  # no weights will write it
            self.skipped_num_batches_tracked.zero_()
        return self

    def reset_running_stats(self) -> None:
        """Forget the statistics of both groups."""
        super().reset_running_stats()
        if "skipped_mean" in self._buffers:  # not yet where torch's constructor calls
            self.skipped_mean.zero_()
            self.skipped_var.fill_(1)
            self.skipped_num_batches_tracked.zero_()

    def forward(self, input: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """Normalise ``input (N, C, H, W)``, each image with the statistics of its group."""
        if not self.training:
            return super().forward(input)
        if groups is None:
            return self._one_group(input, self.running_mean, self.running_var, self.num_batches_tracked)
        if groups is LEAVING:
            return self._one_group(input, self.skipped_mean, self.skipped_var, self.skipped_num_batches_tracked)
        return self._two_groups(input, groups)

    def _one_group(self, x: Tensor, mean: Tensor | None, var: Tensor | None, batches: Tensor) -> Tensor:
        enough = x.shape[0] * x.shape[2] * x.shape[3] > 1
        momentum = 0.0
        if enough and not self.track_running_stats:
            mean, var = None, None
        elif enough:
            batches += 1
            momentum = 1 / float(batches) if self.momentum is None else self.momentum
        else:
            mean, var = self.running_mean, self.running_var
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, enough, momentum, self.eps)

    def _two_groups(self, x: Tensor, groups: LoopGroups) -> Tensor:
        """Both groups in one batch, as masks: no shape depends on the data. Source: `NormalizeGroups`."""
        assert self.running_mean is not None
        assert self.running_var is not None
        numbers = groups.numbers(x.shape[2] * x.shape[3], torch.promote_types(x.dtype, torch.float32))
        with torch.no_grad():
            mean, var, own = group_moments(x, numbers, self.running_mean, self.running_var)
            inverse = (var + self.eps).rsqrt()
        out = NormalizeGroups.apply(x, self.weight, self.bias, own, inverse, numbers)
        if not self.track_running_stats:
            return out
        with torch.no_grad():
            unbiased = var * numbers.unbiased
            moves = None if self.momentum is None else numbers.moves * self.momentum
            running = (self.running_mean, self.running_var, self.num_batches_tracked)
            skipped = (self.skipped_mean, self.skipped_var, self.skipped_num_batches_tracked)
            for group, (running_mean, running_var, batches) in enumerate((running, skipped)):
                batches += numbers.more[group]
                share = numbers.moves[group] / batches.clamp(min=1) if moves is None else moves[group]
                share = share.to(running_mean.dtype)
                running_mean.lerp_(mean[group].to(running_mean.dtype), share)  # by 0, it stays
                running_var.lerp_(unbiased[group].to(running_var.dtype), share)
        return out
