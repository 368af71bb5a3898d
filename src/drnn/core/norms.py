"""Batch normalisation inside a block that loops: shared, one per loop (LVBN), and per decision (I-LVBN).

Every norm here is called as ``norm(x, loop, groups)`` with x ``(N, C, H, W)``, the 0-based loop, and the
groups the gate split the batch into (None where there is no gate, and always ignored in evaluation).
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class LoopGroups(NamedTuple):
    """Who is who in one loop of one batch: bool masks ``(N,)``.

    ``everyone_executes`` is True only where the host already knows it, so that nobody has to ask the device.
    """

    arrives: Tensor
    executes: Tensor
    everyone_executes: bool = False


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
        return self.loops[loop](x, loop, groups)


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

    Source: Section 1 (I-LVBN normalises by the gate's decision) and Figure 7; the exact rule is this project's choice.
    """

    skipped_mean: Tensor
    skipped_var: Tensor

    def __init__(self, num_features: int):
        super().__init__(num_features)
        self.register_buffer("skipped_mean", torch.zeros(num_features))
        self.register_buffer("skipped_var", torch.ones(num_features))

    def forward(self, input: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """Normalise ``input (N, C, H, W)``, each image with the statistics of its group."""
        if groups is None or not self.training:
            return super().forward(input)
        pixels = input.shape[2] * input.shape[3]
        if groups.everyone_executes and input.shape[0] * pixels > 1:
            return super().forward(input)
        if input.shape[0] == 0:
            return torch.nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        var, mean = torch.var_mean(input, (2, 3), correction=0)  # (N, C): every image's own moments
        leaves = groups.arrives & ~groups.executes
        mean_e, var_e, count_e = pooled_moments(mean, var, groups.executes, pixels)
        mean_l, var_l, count_l = pooled_moments(mean, var, leaves, pixels)
        use_e = self._or_running(mean_e, var_e, count_e)
        use_l = self._or_running(mean_l, var_l, count_l)
        executes = groups.executes[:, None]
        centre = torch.where(executes, use_e[0], use_l[0])[:, :, None, None]
        scale = torch.where(executes, (use_e[1] + self.eps).rsqrt(), (use_l[1] + self.eps).rsqrt()) * self.weight
        out = (input - centre) * scale[:, :, None, None] + self.bias[:, None, None]
        self._follow(self.running_mean, self.running_var, mean_e, var_e, count_e)
        self._follow(self.skipped_mean, self.skipped_var, mean_l, var_l, count_l)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += (count_e > 1).long()
        return out

    def _or_running(self, mean: Tensor, var: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None
        assert self.running_var is not None
        return torch.where(count > 1, mean, self.running_mean), torch.where(count > 1, var, self.running_var)

    @torch.no_grad()
    def _follow(
        self, mean: Tensor | None, var: Tensor | None, new_mean: Tensor, new_var: Tensor, count: Tensor
    ) -> None:
        """Move the running statistics, or leave every bit of them where the group is too small to have any."""
        assert mean is not None
        assert var is not None
        assert self.momentum is not None
        unbiased = new_var * (count / (count - 1).clamp(min=1))
        mean.copy_(torch.where(count > 1, mean.lerp(new_mean, self.momentum), mean))
        var.copy_(torch.where(count > 1, var.lerp(unbiased, self.momentum), var))


def pooled_moments(mean: Tensor, var: Tensor, members: Tensor, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(C,)``, biased variance ``(C,)`` and values per channel ``()`` of the images in ``members`` ``(N,)``.

    Pools per-image moments ``(N, C)``; stable for a large mean, because no raw square is ever summed.
    """
    inside, images = members[:, None], members.sum().to(mean.dtype)  # an integer ratio would be float32
    share = images.clamp(min=1)
    pooled = torch.where(inside, mean, 0).sum(0) / share
    spread = torch.where(inside, var + (mean - pooled) ** 2, 0).sum(0) / share
    return pooled, spread, images * pixels
