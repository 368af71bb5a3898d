"""The blocks of `drnn.models` with their norms folded into their convolutions. For evaluation only."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from drnn.core import LoopGroups
from drnn.inference.folded_conv import FoldedConv2d, finish, norms_of, scale_and_shift
from drnn.models.blocks import InvertedResidual, PreActivationBlock, ResidualBlock

Fold = Callable[[nn.Conv2d, nn.Module], FoldedConv2d]


def refuse_folded_training(module: nn.Module) -> None:
    """Folded norms have no batch statistics.

    Raises:
        RuntimeError: the module is in training mode.
    """
    if module.training:
        raise RuntimeError("an optimised network is in training mode; call .eval() on it, and train the original")


def run_chain(
    x: Tensor, shortcut: Tensor | None, layers: list[tuple[Tensor, Tensor, dict]], inner: str, outer: str | None
) -> Tensor:
    """Convolutions in a row, with activations between them and behind the sum: what `compiled_chain` compiles."""
    for number, (weight, bias, kwargs) in enumerate(layers):
        residual, activation = (shortcut, outer) if number == len(layers) - 1 else (None, inner)
        x = finish(nn.functional.conv2d(x, weight, bias, **kwargs), residual, activation)
    return x


@cache
def compiled_chain() -> Callable[..., Tensor]:
    """`run_chain` compiled: weights come in as tensors, so one graph serves all loops, and any batch size.

    torch makes a graph for each pattern of equal and unequal sizes, and gives up after eight; a deep network has more.
    """
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(run_chain, dynamic=True)


class FoldedResidual(nn.Module):
    """A `ResidualBlock` or `InvertedResidual`: a chain of convolutions and, where it has one, the sum.

    Called as its original is, ``block(x, loop, groups)``, ``branch`` and ``shortcut`` included.
    """

    def __init__(self, block: ResidualBlock | InvertedResidual, make: Fold, compiled: bool = False):
        super().__init__()
        self.compiled = compiled
        numbers = [i for i in (1, 2, 3) if hasattr(block, f"conv{i}")]
        self.convs = nn.ModuleList(make(getattr(block, f"conv{i}"), getattr(block, f"bn{i}")) for i in numbers)
        inverted = isinstance(block, InvertedResidual)
        self.inner, self.outer = ("relu6", None) if inverted else ("relu", "relu")
        self.sums = block.residual if inverted else True
        projection = None if inverted else block.downsample
        self.downsample = None if projection is None else make(projection[0], projection[1])  # type: ignore[index]

    def _before_last(self, x: Tensor, loop: int) -> Tensor:
        refuse_folded_training(self)
        for layer in self.convs[:-1]:
            x = layer(x, loop, self.inner)
        return x

    def branch(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """The residual function before the sum."""
        return self.convs[-1](self._before_last(x, loop), loop)

    def shortcut(self, x: Tensor) -> Tensor:
        """The other term of the sum."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        shortcut = self.shortcut(x) if self.sums else None
        if self.compiled and len(x):
            refuse_folded_training(self)
            layers = [layer.as_arguments(loop) for layer in self.convs]  # type: ignore[operator]
            return compiled_chain()(x, shortcut, layers, self.inner, self.outer)
        return self.convs[-1](self._before_last(x, loop), loop, self.outer, shortcut)


class FoldedPreActivation(nn.Module):
    """A `PreActivationBlock`: its first norm stands before any convolution, so it stays, as a multiply-add."""

    def __init__(self, block: PreActivationBlock, make: Fold):
        super().__init__()
        entries = [scale_and_shift(norm) for norm in norms_of(block.bn1) if norm is not None]
        dtype = block.conv1.weight.dtype
        for name, values in zip(("scale", "shift"), zip(*entries, strict=True), strict=True):
            self.register_buffer(name, torch.stack(values).to(dtype)[:, :, None, None])
        self.conv1, self.conv2 = make(block.conv1, block.bn2), make(block.conv2, nn.Identity())
        self.downsample = None if block.downsample is None else make(block.downsample, nn.Identity())

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """``(N, C_in, H, W) -> (N, C_out, H / stride, W / stride)``."""
        refuse_folded_training(self)
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        own = min(loop, len(scale) - 1)
        y = torch.addcmul(shift[own], x, scale[own]).relu_()
        shortcut = x if self.downsample is None else self.downsample(y)
        return self.conv2(self.conv1(y, loop, "relu"), loop, None, shortcut)
