"""A convolution whose loops share its weights: each loop's norm is a scale and a shift inside oneDNN's kernel."""

from functools import cache
from typing import final

import torch
from torch import Tensor, nn

from drnn.inference.copied_conv import CopiedConv2d
from drnn.inference.folded_conv import FoldedConv2d, finish, norms_of, scale_and_shift
from drnn.inference.laid_out import ConvArgs, Made, can_fuse

WORTH_SHARING = 1 << 16  # weights; below, a copy is smaller than 256 KiB, and a sum takes two calls less with it
LEAST_SCALE = 1e-20  # a shift is divided by it; what is left of a channel that is scaled by 0 is too small to count


def scaled(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, conv_args: ConvArgs, activation: str | None = None
) -> Tensor:
    """``activation((conv(x) + bias) * scale)`` in one kernel; ``scale`` is ``(1, C_out, 1, 1)``."""
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, scale, weight, bias, *conv_args, "mul", 1.0, activation, [], ""
    )


def add_relu(y: Tensor, residual: Tensor) -> Tensor:
    """``relu(y + residual)`` in place of y, in one pass over memory where torch has that; without a gradient."""
    in_one_pass = getattr(torch, "_add_relu_", None)
    return finish(y, residual, "relu") if in_one_pass is None else in_one_pass(y, residual)


@cache
def can_scale() -> bool:
    """Whether this torch has fused kernels, and they take one number a channel for the other factor."""
    if not can_fuse():
        return False
    conv_args: ConvArgs = ([0, 0], [1, 1], [1, 1], 1)
    with torch.inference_mode(), torch.device("cpu"):
        x = torch.ones(2, 16, 4, 4, dtype=torch.float32).to(memory_format=torch.channels_last)
        weight, bias = torch.ones(16, 16, 1, 1, dtype=torch.float32), torch.ones(16, dtype=torch.float32)
        scale = torch.arange(-8, 8, dtype=torch.float32)[None, :, None, None]
        try:
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *conv_args, list(x.shape))
            ys = [scaled(x, weight, bias, scale, conv_args, activation) for activation in (None, "relu")]
        except (AttributeError, RuntimeError):
            return False
        expected = (17 * scale).expand_as(x)
        return torch.equal(ys[0], expected) and torch.equal(ys[1], expected.relu())


def fold_loops(conv: nn.Conv2d, norm: nn.Module, fuse: bool = True) -> FoldedConv2d:
    """``norm(conv(x))`` for a block whose activation is ReLU: on shared weights where a copy a loop would be large."""
    share = (
        fuse
        and conv.weight.device.type == "cpu"
        and conv.weight.dtype == torch.float32
        and conv.weight.numel() >= WORTH_SHARING
        and len(norms_of(norm)) > 1
        and can_scale()
    )
    return SharedConv2d(conv, norm) if share else CopiedConv2d(conv, norm, fuse)


@final
class SharedConv2d(FoldedConv2d):
    """A `FoldedConv2d` that keeps one set of weights for all loops, laid out once, and a scale and a shift a loop.

    Its state is ``weight0``, and ``scale`` and ``bias`` of each loop. Away from the fused kernels (moved to another
    device or dtype, autocast, a gradient) the weights are scaled at every call.

    Args:
        conv: the convolution that the loops share.
        norm: an `LVBN2d`.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module):
        super().__init__(conv, fuse=True)
        self.register_buffer("weight0", conv.weight.detach().clone())
        before = 0 if conv.bias is None else conv.bias.detach().double()
        for loop, part in enumerate(norms_of(norm)):
            assert part is not None
            scale, shift = scale_and_shift(part)
            self.register_buffer(f"scale{loop}", scale.to(conv.weight.dtype))
            self.register_buffer(f"bias{loop}", (before * scale + shift).to(conv.weight.dtype))

    def as_arguments(self, loop: int) -> tuple[Tensor, Tensor, dict]:
        """Weight and bias of a loop, made for this call, and the other arguments of ``conv2d``."""
        scale = self.get_buffer(f"scale{loop}")[:, None, None, None]
        return self.get_buffer("weight0") * scale, self.get_buffer(f"bias{loop}"), self.conv_kwargs

    def _fused(self, x: Tensor, loop: int, activation: str | None, residual: Tensor | None) -> Tensor:
        scale, bias = self._factors(loop)
        weight = self._buffers["weight0"]
        assert weight is not None
        weight = self._laid_out.get(0, weight, x, self.conv_args)
        if activation == "relu":  # it takes no other activation
            if residual is None:
                return scaled(x, weight, bias, scale, self.conv_args, activation)
            return add_relu(scaled(x, weight, bias, scale, self.conv_args), residual)
        return finish(scaled(x, weight, bias, scale, self.conv_args), residual, activation)

    def _factors(self, loop: int) -> tuple[Tensor, Tensor]:
        """Scale ``(1, C, 1, 1)`` of a loop, and what is added before it."""
        scale, bias = self._buffers[f"scale{loop}"], self._buffers[f"bias{loop}"]
        assert scale is not None
        assert bias is not None
        made = self._made.get(loop)
        if made is None or not (made[0].fits(scale) and made[1].fits(bias)):
            with torch.no_grad():
                divisor = torch.where(scale.abs() < LEAST_SCALE, LEAST_SCALE, scale)
                made = Made.of(scale, divisor[None, :, None, None]), Made.of(bias, bias / divisor)
                self._made[loop] = made
        return made[0].tensor, made[1].tensor
