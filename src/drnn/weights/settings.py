"""What layers compute by besides their weights: strides, paddings, a norm's eps. No file of weights tells it."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from drnn.core import LVBN2d

OF_CONVOLUTIONS = ("stride", "padding", "dilation", "groups", "padding_mode")


def refuse_other_settings(model: nn.Module, other: nn.Module, pairs: Iterable[tuple[str, str]], of: str) -> None:
    """Two networks whose layers have the same shapes are to compute the same with the same weights.

    Args:
        model: one of them.
        other: the other one; either may be on the meta device.
        pairs: names of a layer of ``model`` and of the one of ``other`` whose weights it gets.
        of: what ``other`` is, for the message.

    Raises:
        ValueError: layers that compute otherwise.
    """
    for own, theirs in pairs:
        here, there = _settings(model.get_submodule(own)), _settings(other.get_submodule(theirs))
        if here != there:
            raise ValueError(
                f"{own} ({here}) and {theirs} of {of} ({there}) compute otherwise; build both with the same fields, "
                "such as stride_in_3x3"
            )


def has_settings(layer: nn.Module) -> bool:
    """Whether it is a convolution or a norm; what a linear layer does is told by its weights."""
    return isinstance(layer, nn.Conv2d | _BatchNorm | LVBN2d)


def _settings(layer: nn.Module) -> str:
    """How it computes, in words; of a norm a loop, as the first of them does."""
    if isinstance(layer, LVBN2d):
        layer = layer.loops[0]
    if isinstance(layer, _BatchNorm):
        return f"eps={layer.eps}"
    return ", ".join(f"{name}={getattr(layer, name)}" for name in OF_CONVOLUTIONS if hasattr(layer, name))
