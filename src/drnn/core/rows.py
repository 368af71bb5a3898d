"""Images moved from one batch to another by their row, in either memory format, and the gradients of that."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from drnn.core.modes import has_derivative

LARGE = 2**17  # bytes of an image from which gathering and writing it costs more than a call of its own


def take(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]``: of x ``(N, C, H, W)`` the images ``rows`` int64 ``(M,)``; keeps the memory format."""
    if x.is_contiguous():
        return x.index_select(0, rows)
    moved = x.permute(0, 2, 3, 1).contiguous()  # no copy where x is channels_last; as it is, index_select gives it up
    return moved.index_select(0, rows).permute(0, 3, 1, 2)


def put(out: Tensor, places: Tensor, x: Tensor, rows: Tensor | None = None) -> None:
    """``out[places] = x[rows]``, or all of x, in the precision of ``out``.

    torch writes rows element by element, so they go in elements of 16 bytes. On a CPU, where they cannot, or where rows
    to be gathered first are large, they go image by image.
    """
    on_cpu, x = x.device.type == "cpu", x.to(out.dtype)
    if x.is_cuda or (on_cpu and (rows is None or bytes_of(x[:1]) < LARGE)):
        source = in_pieces(x)
        target = None if source is None else in_pieces(out)
        if source is not None and target is not None and x.is_contiguous() == out.is_contiguous():
            target.index_put_((places,), source if rows is None else source.index_select(0, rows))
            return
    if not on_cpu or torch.compiler.is_compiling():
        out.index_copy_(0, places, x if rows is None else x.index_select(0, rows))
        return
    for place, row in zip(places.tolist(), range(len(x)) if rows is None else rows.tolist(), strict=True):
        out.select(0, place).copy_(x.select(0, row))


def bytes_of(x: Tensor) -> int:
    """As ``x.nbytes``, which compilers do not follow."""
    return x.numel() * x.element_size()


def in_pieces(x: Tensor) -> Tensor | None:
    """The memory of x ``(N, C, H, W)`` as a row an image, in elements of 16 bytes.

    None where it does not divide so, where it is in neither memory format, where a derivative follows x, or where a
    compiler looks on, which knows no addresses.
    """
    if torch.compiler.is_compiling() or x.numel() == 0 or has_derivative(x):
        return None
    if not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)
    if not x.is_contiguous() or bytes_of(x[0]) % 16 or x.storage_offset() * x.itemsize % 16 or x.data_ptr() % 16:
        return None
    return x.view(len(x), -1).view(torch.complex128)


def ranks(stays: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows of the ``count`` images that stay, bool ``stays (N,)``, in the order they take, and of those that leave.

    On a CPU whoever stays in a place below ``count`` keeps it, and the others fill the gaps, so that few move; on
    another device all keep their order, which needs no look at the flags.
    """
    if stays.device.type != "cpu":
        return stays.argsort(descending=True, stable=True).split((count, len(stays) - count))  # type: ignore[return-value]
    flags = stays.tolist()
    later = (row for row in range(count, len(flags)) if flags[row])
    staying = [row if flags[row] else next(later) for row in range(count)]
    leaving = [row for row, flag in enumerate(flags) if not flag]
    return torch.tensor(staying, dtype=torch.long), torch.tensor(leaving, dtype=torch.long)


def close_ranks(x: Tensor, rows: Tensor, in_place: bool) -> Tensor:
    """``x[rows]``, as `ranks` gives them; where x may be written, on a CPU, only what changes its place is copied."""
    if not in_place or x.device.type != "cpu":
        return take(x, rows)
    gaps = [place for place, row in enumerate(rows.tolist()) if place != row]
    if gaps:
        places = torch.tensor(gaps)
        put(x, places, x, rows[places])
    return x[: len(rows)]


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
    widest = reduce(torch.promote_types, (part.dtype for part in parts))  # under autocast they may be of two
    out = like.new_empty(count, *like.shape[1:], dtype=widest)
    if not like.is_contiguous():
        out = out.contiguous(memory_format=torch.channels_last)
    for where, part in zip(rows, parts, strict=True):
        put(out, where, part)
    return out
