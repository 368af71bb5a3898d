"""Four ways to run the same loop. Each gives the output and one step per loop that was run."""

import torch
from torch import Tensor, nn

from drnn.core.norms import LoopGroups
from drnn.core.record import LoopStep

Result = tuple[Tensor, list[LoopStep]]


def loop_always(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Recursion without a decision: every image, every loop."""
    steps = []
    for loop in range(num_loops):
        steps.append(LoopStep(gate(x)))
        x = body(x, loop, None)
    return x, steps


def loop_dense(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Compute every image in every loop and mask: no shape depends on the data."""
    looping, steps = x.new_ones(x.shape[0]), []
    for loop in range(num_loops):
        answer, arrives = gate(x), looping.detach() > 0
        steps.append(LoopStep(answer, arrived=arrives))
        looping = looping * (answer.decision * arrives)  # to leave is final
        y = body(x, loop, LoopGroups(arrives, looping.detach() > 0))
        x = _blend(looping, y, x)
    return x, steps


def loop_arrivals(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Training: compute only the images that arrive at a loop; those it turns away still teach the gate.

    A loop that nobody reaches runs on an empty batch, so that each of its parameters gets a gradient (zero).
    """
    looping, rows = x.new_ones(x.shape[0]), torch.arange(x.shape[0], device=x.device)
    left: list[tuple[Tensor, Tensor]] = []
    steps = []
    for loop in range(num_loops):
        answer = gate(x)
        steps.append(LoopStep(answer, rows))
        executes = answer.executes
        everyone = bool(executes.all())
        looping = looping * answer.decision
        y = body(x, loop, LoopGroups(torch.ones_like(executes), executes, everyone))
        x = _blend(looping, y, x)
        if not everyone:
            left.append((x[~executes], rows[~executes]))
            x, rows, looping = x[executes], rows[executes], looping[executes]
    return _in_order([*left, (x, rows)]), steps


def loop_executing(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Evaluation: an image that leaves is never computed again, and the loop ends with the last of them.

    The device is waited for once a gate. Nothing is copied in a loop that nobody leaves; else an image that leaves
    moves once, to its place in the result, and those that stay close ranks in their order.
    """
    out: Tensor | None = None
    rows: Tensor | None = None  # x is still the whole batch
    steps = []
    for loop in range(num_loops):
        answer = gate(x)
        steps.append(LoopStep(answer, rows))
        executes = answer.executes
        count = int(executes.sum())
        if count == 0:
            break
        if count < len(x):
            going, leaving = executes.argsort(descending=True, stable=True).split((count, len(x) - count))
            out = torch.empty_like(x) if out is None else out
            _put(out, leaving if rows is None else rows[leaving], x, leaving)
            rows = going if rows is None else rows[going]
            x = _gather(x, going)
        x = body(x, loop, None)
    if out is None or rows is None:
        return x, steps
    _put(out, rows, x)
    return out, steps


def _gather(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]`` in the memory format of x, ``(N, C, H, W) -> (M, C, H, W)``.

    Taken over rows of plain memory, because torch's own ``index_select`` gives up channels_last.
    """
    if x.is_contiguous():
        return x.index_select(0, rows)
    moved = x.permute(0, 2, 3, 1).contiguous()  # no copy where x is channels_last
    return moved.index_select(0, rows).permute(0, 3, 1, 2)


def _put(out: Tensor, places: Tensor, x: Tensor, rows: Tensor | None = None) -> None:
    """``out[places] = x[rows]``, or all of x; image by image on a CPU, where index_copy is up to five times slower."""
    if x.device.type != "cpu":
        out.index_copy_(0, places, x if rows is None else x.index_select(0, rows))
        return
    for place, row in zip(places.tolist(), range(len(x)) if rows is None else rows.tolist(), strict=True):
        out.select(0, place).copy_(x.select(0, row))


def _blend(looping: Tensor, new: Tensor, old: Tensor) -> Tensor:
    share = looping[:, None, None, None]
    return share * new + (1 - share) * old


def _in_order(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Images that left at different loops, back in the order of the batch."""
    if len(parts) == 1:
        return parts[0][0]
    return torch.cat([part for part, _ in parts])[torch.cat([rows for _, rows in parts]).argsort()]
