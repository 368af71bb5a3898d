"""A convolution whose loops have a weight and a bias each, with their norms folded in."""

from typing import final

import torch
from torch import Tensor, nn

from drnn.inference.folded_conv import BatchNorm, FoldedConv2d, norms_of, scale_and_shift

# name -> what torch.ops.mkldnn calls it, with its scalars
ACTIVATIONS: dict[str | None, tuple[str, list[float]]] = {
    None: ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: BatchNorm | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals ``norm(conv(x))`` in evaluation, in the dtype of ``conv``.

    Shape: weight as that of ``conv``, bias ``(C_out,)``.
    """
    weight, width = conv.weight, conv.weight.new_zeros(conv.out_channels, dtype=torch.float64)
    bias = width if conv.bias is None else conv.bias.double()
    if norm is None:
        return weight.detach().clone(), bias.to(weight.dtype)
    scale, shift = scale_and_shift(norm)
    return (weight.double() * scale[:, None, None, None]).to(weight.dtype), (bias * scale + shift).to(weight.dtype)


@final
class CopiedConv2d(FoldedConv2d):
    """A `FoldedConv2d` that keeps a weight and a bias for every norm: ``weight0``, ``bias0`` and so on in its state.

    Args:
        conv: the convolution that the loops share.
        norm: an `LVBN2d`, one BatchNorm for all loops, or an Identity.
        fuse: whether fused kernels of oneDNN and cuDNN may be used.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, fuse: bool = True):
        super().__init__(conv, fuse)
        norms = norms_of(norm)
        self.num_sets = len(norms)
        for loop, part in enumerate(norms):
            weight, bias = fold(conv, part)
            self.register_buffer(f"weight{loop}", weight)
            self.register_buffer(f"bias{loop}", bias)

    def as_arguments(self, loop: int) -> tuple[Tensor, Tensor, dict]:
        """Weight and bias of a loop, and the other arguments of ``conv2d``."""
        _, weight, bias = self._set_of(loop)
        return weight, bias, self.conv_kwargs

    def _set_of(self, loop: int) -> tuple[int, Tensor, Tensor]:
        """The number of a loop's set, its weight and its bias."""
        loop = loop if self.num_sets > 1 else 0
        weight, bias = (self._buffers[f"{name}{loop}"] for name in ("weight", "bias"))  # get_buffer takes longer
        assert weight is not None
        assert bias is not None
        return loop, weight, bias

    def _fused(self, x: Tensor, loop: int, activation: str | None, residual: Tensor | None) -> Tensor:
        loop, weight, bias = self._set_of(loop)
        weight = self._laid_out.get(loop, weight, x, self.conv_args)
        name, scalars = ACTIVATIONS[activation]
        if residual is None:
            return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *self.conv_args, name, scalars, "")
        after = "relu" if activation == "relu" else None  # the only activation it takes behind a sum
        y = torch.ops.mkldnn._convolution_pointwise.binary(
            x, residual, weight, bias, *self.conv_args, "add", 1.0, after, [], ""
        )
        return y.clamp_(0.0, 6.0) if activation == "relu6" else y
