"""The executing form for devices that work ahead of the host, such as GPUs."""

import torch
from torch import Tensor, nn

from drnn.core.body import looped
from drnn.core.gates import GateDecision
from drnn.core.record import LoopStep
from drnn.core.rows import put, take

SIZES = 64  # that a batch may shrink to


def loop_sorting(gate: nn.Module, body: nn.Module, num_loops: int, x: Tensor) -> tuple[Tensor, list[LoopStep]]:
    """Evaluation: an image that leaves is done, and the loop ends with the last of them.

    The host has to know how many go on, and waits for that once a gate. Whatever else there is to do is started before:
    the device sorts those who go on to the front while the host gets its answer, and then the next loop is all that is
    left to start, on the front of what was sorted; those behind go to their place in the result after that.

    A GPU's library looks for kernels at every size that it has not met, which took longer than to run them. So a batch
    shrinks in 64 steps at most: a few of those who just left may be computed once more, and what comes out is dropped.
    """
    step = max(1, len(x) // SIZES)
    whole, out, rows = x, None, torch.arange(0)  # no rows yet: x is still the whole batch
    steps = []
    for loop in range(num_loops):
        answer = gate(x)
        if out is not None and len(rows) < len(x):
            answer = GateDecision(answer.margin[: len(rows)], answer.deciding_margin[: len(rows)])
        steps.append(LoopStep(answer, None if out is None else rows))
        executes = answer.executes
        asked = Asked(executes.sum())
        order = executes.argsort(descending=True, stable=True)
        images, places = take(x, order), order if out is None else rows.index_select(0, order)
        count = asked.wait()
        if count == 0:
            break
        if count == len(executes):
            x = looped(body, x, loop, None)
            continue
        rows = places[:count]
        front = 1 if count == 1 else -(-count // step) * step
        x = looped(body, images[:front], loop, None, keep=front > count)
        out = torch.empty_like(whole) if out is None else out
        put(out, places[count:], images[count:])
    if out is None:
        return x, steps
    put(out, rows, x[: len(rows)])
    return out, steps


class Asked:
    """A whole number ``()`` on its way to the host; `wait` waits for this number, not for what was started after it."""

    def __init__(self, number: Tensor):
        self.number, self.event = number.to("cpu", non_blocking=number.is_cuda), None
        if number.is_cuda:
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(number.device))

    def wait(self) -> int:
        """The number."""
        if self.event is not None:
            self.event.synchronize()
        return int(self.number)
