"""Ways to run the same loop. Each gives the output and one step per loop that was run."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as torch_module

from drnn.core.body import looped
from drnn.core.modes import has_derivative, is_traced
from drnn.core.norms import LEAVING, LoopGroups
from drnn.core.record import LoopStep
from drnn.core.rows import Join, Part, close_ranks, put, ranks
from drnn.core.sorting import loop_sorting

Result = tuple[Tensor, list[LoopStep]]


def loop_always(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Recursion without a decision: every image, every loop."""
    steps = []
    for loop in range(num_loops):
        steps.append(LoopStep(gate(x)))
        x = looped(body, x, loop, None)
    return x, steps


def loop_dense(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Compute every image in every loop and mask: no shape depends on the data."""
    return _loop_dense(gate, body, num_loops, x, learns=True)


def loop_masking(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """The same in evaluation: who leaves is given, as it is where leavers are skipped, and no gradient goes there."""
    return _loop_dense(gate, body, num_loops, x, learns=False)


def _loop_dense(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor, learns: bool) -> Result:
    looping, steps = x.new_ones(x.shape[0]), []
    for loop in range(num_loops):
        answer, arrives = gate(x), looping.detach() > 0
        steps.append(LoopStep(answer, arrived=arrives))
        decides = answer.decision if learns else answer.executes
        looping = looping * (decides * arrives)  # to leave is final
        y = looped(body, x, loop, LoopGroups(arrives, looping.detach() > 0), keep=True)
        x = _blend(looping, y, x)
    return x, steps


def loop_arrivals(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Training: compute only the images that arrive at a loop; those it turns away still teach the gate.

    The two groups are computed apart, each in one contiguous batch, which is also how I-LVBN normalises them. What
    the body makes of an image that leaves reaches the gate's gradient and nothing else, so it needs no graph.
    A loop that nobody executes runs on an empty batch, so that each of its parameters gets a gradient (zero).
    """
    looping, rows = x.new_ones(x.shape[0]), torch.arange(x.shape[0], device=x.device)
    left: list[tuple[Tensor, Tensor]] = []
    steps = []
    for loop in range(num_loops):
        answer = gate(x)
        steps.append(LoopStep(answer, rows))
        executes = answer.executes
        looping = looping * answer.decision
        if not executes.all():
            going, leaving = executes.nonzero()[:, 0], (~executes).nonzero()[:, 0]
            x, stays = Part.apply(x, going, leaving)
            with torch.no_grad():
                y = looped(body, stays, loop, LEAVING, keep=True)
            left.append((rows[leaving], Gated.apply(stays, y, stays, looping[leaving])))
            rows, looping = rows[going], looping[going]
        y = looped(body, x, loop, None, keep=True)
        x = Gated.apply(y, y, x, looping)
    if not left:
        return x, steps
    places, parts = zip(*left, (rows, x), strict=True)
    return Join.apply(places, *parts), steps


class Gated(torch.autograd.Function):
    """``a * y + (1 - a) * x`` where a is exactly 0, or exactly 1, for every image: so either x or y, unchanged.

    Differentiates like the formula, but takes which of the two is chosen as given; x and y themselves only tell
    the gradient of a.
    """

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, y: Tensor, x: Tensor, looping: Tensor) -> Tensor:
        """``chosen (N, C, H, W)``, which is y or x; ``looping (N,)`` is a."""
        ctx.save_for_backward(y, x)
        return chosen.view_as(chosen)

    @staticmethod
    @once_differentiable  # y of images that leave has no graph
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor | None]:
        """The gradient itself for what was chosen; along ``y - x`` for a, where a has one."""
        y, x = ctx.saved_tensors
        (gradient,) = gradients
        if not ctx.needs_input_grad[3]:
            return gradient, None, None, None
        return gradient, None, None, (gradient * (y - x)).sum((1, 2, 3))


def loop_executing(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> Result:
    """Evaluation: an image that leaves is never computed again, and the loop ends with the last of them.

    Nothing is copied in a loop that nobody leaves; else an image that leaves moves once, to its place in the result,
    and those that stay close ranks: see `drnn.core.rows.ranks`. They do so in place, in what the body returned, unless
    a hook may have kept that. Batches that are not on a CPU go through `drnn.core.sorting.loop_sorting`. torch's own
    tracers would keep the calls that one example made, for all others: they get `loop_masking`.
    """
    if is_traced():
        return loop_masking(gate, body, num_loops, x)
    if x.device.type != "cpu" and len(x) > 1:
        return loop_sorting(gate, body, num_loops, x)
    out: Tensor | None = None
    watched = False
    batch = x
    rows: Tensor | None = None  # x is still the whole batch
    steps = []
    for loop in range(num_loops):
        answer = gate(x)
        steps.append(LoopStep(answer, rows))
        executes = answer.executes
        count = int(executes if len(x) == 1 else executes.sum())  # a call less for a batch of one
        if count == 0:
            break
        if count < len(x):
            going, leaving = ranks(executes, count)
            if out is None:
                out, watched = torch.empty_like(x), _global_hooks() or _has_hooks(body) or _has_hooks(gate)
            put(out, leaving if rows is None else rows[leaving], x, leaving)
            rows = going if rows is None else rows[going]
            watched = watched or torch.compiler.is_compiling()
            ours = not (watched or has_derivative(x)) and x.data_ptr() != batch.data_ptr()
            x = close_ranks(x, going, ours)
        x = looped(body, x, loop, None)
    if out is None or rows is None:
        return x, steps
    put(out, rows, x)
    return out, steps


def _has_hooks(module: nn.Module) -> bool:
    """Whether a hook may keep what goes into this module, or a module inside it, or comes out."""
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    return any(child is not None and _has_hooks(child) for child in module._modules.values())


def _global_hooks() -> bool:
    """Whether hooks are set that watch every module."""
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def _blend(looping: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """New where looping is 1, old where it is 0, unchanged; the gradient is that of the weighted sum."""
    if not (torch.is_grad_enabled() and looping.requires_grad):
        return torch.where(looping[:, None, None, None] > 0, new, old)  # 0 times an overflow would be no number
    dtype = torch.promote_types(new.dtype, old.dtype)
    return torch.lerp(old.to(dtype), new.to(dtype), looping[:, None, None, None].to(dtype))
