"""The norms of a looping body, rewritten for files: evaluation needs of each only a scale and a shift per channel."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from drnn.core import LoopGroups, LVBN2d
from drnn.models.blocks import BasicBlock, Bottleneck, InvertedResidual

# Bodies in which norm bn1 directly follows conv1, and so on: there a norm can ride on the convolution's weights.
CONV_THEN_NORM = (BasicBlock, Bottleneck, InvertedResidual)
NORM_PLACEMENTS = ("once", "folded")


def affines(norm: nn.Module, num_loops: int) -> tuple[Tensor, Tensor]:
    """What a norm does in evaluation, loop by loop: ``x * scale + shift``, each ``(L, C)``."""
    own: list[Any] = list(norm.loops) if isinstance(norm, LVBN2d) else [norm] * num_loops
    scales = [bn.weight * torch.rsqrt(bn.running_var + bn.eps) for bn in own]
    shifts = [bn.bias - bn.running_mean * scale for bn, scale in zip(own, scales, strict=True)]
    return torch.stack(scales).detach(), torch.stack(shifts).detach()


class LoopAffine(nn.Module):
    """A norm as multiply-add on the activations; the loop may be a number or a tensor ``()``."""

    def __init__(self, norm: nn.Module, num_loops: int):
        super().__init__()
        scale, shift = affines(norm, num_loops)
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    def forward(self, x: Tensor, loop: int | Tensor, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        scale, shift = (_row(table, loop)[:, None, None] for table in (self.scale, self.shift))
        return x * scale + shift


def _row(table: Tensor, loop: int | Tensor) -> Tensor:
    return table.index_select(0, loop.reshape(1))[0] if isinstance(loop, Tensor) else table[loop]


class NormedConv(nn.Module):
    """A convolution and the norm behind it: one weight for all loops, times the loop's scale, plus its shift.

    The product hangs on no input, so onnxruntime multiplies once, while it loads: the file holds the weight once, and
    what runs is a plain convolution with a bias.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, num_loops: int):
        super().__init__()
        self.conv = conv
        scales, shifts = affines(norm, num_loops)
        if conv.bias is not None:
            shifts = shifts + conv.bias.detach() * scales
        # cloned: rows of one tensor share its memory, and a graph's branches may not read memory twice
        self.scales = nn.ParameterList([scale.clone() for scale in scales])
        self.shifts = nn.ParameterList([shift.clone() for shift in shifts])

    def weight(self, loop: int) -> Tensor:
        """The convolution's weight in that loop."""
        return self.conv.weight * self.scales[loop][:, None, None, None]

    def forward(self, x: Tensor, loop: int, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H, W)``."""
        conv = self.conv
        return torch.conv2d(
            x, self.weight(loop), self.shifts[loop], conv.stride, conv.padding, conv.dilation, conv.groups
        )


class FoldedConv(NormedConv):
    """The same, with a weight of its own for every loop: nothing to multiply while loading, a larger file."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, num_loops: int):
        super().__init__(conv, norm, num_loops)
        own = [NormedConv.weight(self, loop).detach() for loop in range(num_loops)]
        self.weights = nn.ParameterList(own)

    def weight(self, loop: int) -> Tensor:
        """The convolution's weight in that loop."""
        return self.weights[loop]


def place_norms(body: nn.Module, num_loops: int, placement: str) -> nn.Module:
    """Put the norms of ``body``, in place, where a file wants them; returns it.

    Args:
        body: of a recursive block.
        num_loops: L.
        placement: "once" or "folded": on the weights where the body allows it; "activations": multiply-add on the
            activations everywhere, for a loop whose number is known only while running.
    """
    if placement != "activations" and isinstance(body, CONV_THEN_NORM):
        joined = FoldedConv if placement == "folded" else NormedConv
        for conv, norm in _pairs(body):
            setattr(body, norm, joined(getattr(body, conv), getattr(body, norm), num_loops))
            setattr(body, conv, nn.Identity())
        return body
    for name, module in list(body.named_children()):
        if isinstance(module, LVBN2d | nn.BatchNorm2d):
            setattr(body, name, LoopAffine(module, num_loops))
    return body


def _pairs(body: nn.Module) -> Iterator[tuple[str, str]]:
    children = dict(body.named_children())
    return ((f"conv{i}", f"bn{i}") for i in range(1, 4) if f"conv{i}" in children)
