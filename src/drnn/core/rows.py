"""Images moved from one batch to another by their row, in either memory format, and the gradients of that."""

from typing import Any

import torch
from torch import Tensor


def take(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]``: of x ``(N, C, H, W)`` the images ``rows`` int64 ``(M,)``; keeps the memory format."""
    return x.index_select(0, rows) if x.is_contiguous() else _last(_first(x).index_select(0, rows))


def put(out: Tensor, rows: Tensor, x: Tensor) -> None:
    """``out[rows] = x``, in place."""
    if out.is_contiguous():
        out.index_copy_(0, rows, x)
    else:
        _first(out).index_copy_(0, rows, _first(x))


def _first(x: Tensor) -> Tensor:
    """Channels moved to the end: plain contiguous where x is channels_last, which is when rows move fast."""
    return x.permute(0, 2, 3, 1)


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class Part(torch.autograd.Function):
    """Take two groups of rows out of x ``(N, C, H, W)``; together they hold each row once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """``x[first], x[second]``."""
        ctx.save_for_backward(first, second)
        return take(x, first), take(x, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Every image's gradient, back in its row."""
        return _joined(ctx.saved_tensors, gradients), None, None


class Join(torch.autograd.Function):
    """Put groups of images ``(M_i, C, H, W)`` into their rows of one batch; together the rows are 0..N - 1."""

    @staticmethod
    def forward(ctx: Any, rows: tuple[Tensor, ...], *parts: Tensor) -> Tensor:
        """The whole batch."""
        ctx.save_for_backward(*rows)
        return _joined(rows, parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each group's share of the gradient."""
        return None, *(take(gradients[0], rows) for rows in ctx.saved_tensors)


def _joined(rows: tuple[Tensor, ...], parts: tuple[Tensor, ...]) -> Tensor:
    count, like = sum(map(len, parts)), max(parts, key=len)  # an empty part has no memory format to keep
    out = like.new_empty(count, *like.shape[1:])
    if not like.is_contiguous():
        out = out.contiguous(memory_format=torch.channels_last)
    for where, part in zip(rows, parts, strict=True):
        put(out, where, part)
    return out
