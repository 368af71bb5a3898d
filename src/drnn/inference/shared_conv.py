"""A convolution whose loops share its weights: each loop's norm is a scale and a shift inside oneDNN's kernel."""

from functools import cache

import torch
from torch import Tensor, nn

from drnn.inference.folded_conv import FoldedConv2d, finish, norms_of, scale_and_shift
from drnn.inference.laid_out import Places, can_fuse

WORTH_SHARING = 1 << 16  # weights; below, a copy is smaller than 256 KiB, and a sum takes two calls less with it
LEAST_SCALE = 1e-20  # a shift is divided by it; what is left of a channel that is scaled by 0 is too small to count


def scaled(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, places: Places, activation: str | None = None
) -> Tensor:
    """``activation((conv(x) + bias) * scale)`` in one kernel; ``scale`` is ``(1, C_out, 1, 1)``."""
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, scale, weight, bias, *places, "mul", 1.0, activation, [], ""
    )


@cache
def can_scale() -> bool:
    """Whether this torch has fused kernels, and they take one number a channel for the other factor."""
    if not can_fuse():
        return False
    x, weight, scale = torch.ones(1, 8, 2, 2), torch.ones(8, 8, 1, 1), torch.arange(-4.0, 4.0)[:, None, None]
    with torch.no_grad():
        try:
            y = scaled(x, weight, torch.ones(8), scale[None], ([0, 0], [1, 1], [1, 1], 1), "relu")
        except RuntimeError:
            return False
    return torch.equal(y, (9 * scale).relu().expand_as(x))


def fold_loops(conv: nn.Conv2d, norm: nn.Module, fuse: bool = True) -> FoldedConv2d:
    """``norm(conv(x))`` for a block whose activation is ReLU: on shared weights where that saves memory for no time."""
    share = (
        fuse
        and conv.weight.device.type == "cpu"
        and conv.weight.dtype == torch.float32
        and conv.weight.numel() >= WORTH_SHARING
        and len(norms_of(norm)) > 1
        and can_scale()
    )
    return SharedConv2d(conv, norm) if share else FoldedConv2d(conv, norm, fuse)


class SharedConv2d(FoldedConv2d):
    """A `FoldedConv2d` that keeps one set of weights for all loops, laid out once, and a scale and a shift a loop.

    The scale inside the kernel, and sum and ReLU in two passes behind it, cost 1 % of a large convolution's time at
    most. Away from the fused kernels (another device or dtype, autocast, a gradient) the weights are scaled at every
    call.

    Args:
        conv: the convolution that the loops share.
        norm: an `LVBN2d`.
    """

    def _keep(self, conv: nn.Conv2d, norms: list[nn.BatchNorm2d | None]) -> None:
        self.num_sets = 1
        self.register_buffer("weight0", conv.weight.detach().clone())
        before = 0 if conv.bias is None else conv.bias.detach().double()
        for loop, norm in enumerate(norms):
            assert norm is not None
            scale, shift = scale_and_shift(norm)
            self.register_buffer(f"scale{loop}", scale.to(conv.weight.dtype))
            self.register_buffer(f"bias{loop}", (before * scale + shift).to(conv.weight.dtype))

    def as_arguments(self, loop: int) -> tuple[Tensor, Tensor, dict]:
        """Weight and bias of a loop, made for this call, and the other arguments of ``conv2d``."""
        scale = self.get_buffer(f"scale{loop}")[:, None, None, None]
        return self.get_buffer("weight0") * scale, self.get_buffer(f"bias{loop}"), self.places

    def bytes_made(self) -> int:
        """Of what was made of the weights, scales and shifts, and is kept beside them."""
        return super().bytes_made() + sum(part.nbytes for made in self._inside.values() for part in made)

    def _fused(self, x: Tensor, loop: int, activation: str | None, residual: Tensor | None) -> Tensor:
        found = self._inside.get(loop)
        if found is None:
            found = self._inside[loop] = self._factors(loop)
        scale, bias = found
        weight = self._laid_out.get(0, self._buffers["weight0"], x, self.where)
        inside = activation if residual is None and activation == "relu" else None  # it takes no other activation
        y = scaled(x, weight, bias, scale, self.where, inside)
        return y if inside is not None else finish(y, residual, activation)

    @torch.no_grad()
    def _factors(self, loop: int) -> tuple[Tensor, Tensor]:
        """Scale ``(1, C, 1, 1)`` of a loop, and what is added before it."""
        scale, bias = self.get_buffer(f"scale{loop}"), self.get_buffer(f"bias{loop}")
        scale = torch.where(scale.abs() < LEAST_SCALE, LEAST_SCALE, scale)
        return scale[None, :, None, None], bias / scale

    def _forget(self) -> None:
        super()._forget()
        self._inside: dict[int, tuple[Tensor, Tensor]] = {}
