"""What a block may expect of the body that it loops, which may be of somebody's own."""

import inspect

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from drnn.core.groups import LoopGroups
from drnn.core.modes import is_traced


def refuse_other_calls(body: nn.Module) -> None:
    """Before the first image comes: whether a body takes what a block calls it with.

    Raises:
        TypeError: it does not take three arguments.
    """
    if body._forward_pre_hooks:  # they may make other arguments of these
        return
    try:
        signature = inspect.signature(body.forward)
    except (TypeError, ValueError):  # of what is not written in Python nobody can tell
        return
    try:
        signature.bind("x", "loop", "groups")
    except TypeError as error:
        raise TypeError(
            f"a body of {type(body).__qualname__} received, whose forward{signature} cannot be called: a block calls "
            "body(x, loop, groups), with the number of the loop and, for norms in training, what the gate decided; a "
            "body may ignore both"
        ) from error


def wants_every_image(body: nn.Module) -> bool:
    """Whether a norm in there takes its statistics over the whole batch, images that left included.

    So do the batch norms of torch, torchvision and timm; any other norm says so by ``needs_every_image``, and those of
    `drnn.core.norms` that keep the gate's groups apart say that they do not.
    """
    return any(getattr(layer, "needs_every_image", isinstance(layer, _BatchNorm)) for layer in body.modules())


def looped(body: nn.Module, x: Tensor, loop: int, groups: LoopGroups | None, keep: bool = False) -> Tensor:
    """``body(x, loop, groups)``.

    Args:
        body: of a block.
        x: images ``(N, C, H, W)``.
        loop: 0-based.
        groups: what the gate made of them, None where all execute.
        keep: x is needed afterwards, as it was.

    Raises:
        ValueError: what came out is no tensor of the same shape, or x was overwritten.
    """
    if is_traced() or torch.compiler.is_compiling():
        return body(x, loop, groups)
    before = x._version if keep and not x.is_inference() else None
    y = body(x, loop, groups)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        made = tuple(y.shape) if isinstance(y, Tensor) else type(y).__qualname__
        raise ValueError(
            f"the body ({type(body).__qualname__}) made {made} of {tuple(x.shape)}; a block that loops needs a body "
            "that keeps the shape"
        )
    if before is not None and x._version != before:
        raise ValueError(
            f"the body ({type(body).__qualname__}) overwrote the images that it got, which images that leave need as "
            "they were; let its first layer not work in place (inplace=False)"
        )
    return y
