"""The recursive block once more, in the operators that graphs have for skipping; each equals the core's evaluation.

All are called as ``block(x, threshold)`` with x ``(N, C, H, W)`` and the threshold ``()`` of the gate's margin, and
give the output and how many loops each image executed, int64 ``(N,)``.
"""

import torch
from torch import Tensor, nn

from drnn.core import Gate

Result = tuple[Tensor, Tensor]


class GraphBlock(nn.Module):
    """A gate, a body and a number of loops, made for export. Abstract."""

    def __init__(self, gate: nn.Module, body: nn.Module, num_loops: int):
        super().__init__()
        self.gate, self.body, self.num_loops = gate, body, num_loops

    def goes_on(self, x: Tensor, threshold: Tensor) -> Tensor:
        """The gate's answer, bool ``(N,)``."""
        answer = self.gate.ask(x) if isinstance(self.gate, Gate) else self.gate(x)
        return answer.deciding_margin > threshold

    def forward(self, x: Tensor, threshold: Tensor) -> Result:
        """Loop."""
        raise NotImplementedError


class OpenBlock(GraphBlock):
    """No gate: every loop, for every image."""

    def forward(self, x: Tensor, threshold: Tensor) -> Result:
        """Loop."""
        for loop in range(self.num_loops):
            x = self.body(x, loop, None)
        return x, torch.full_like(x[:, 0, 0, 0], self.num_loops, dtype=torch.int64)


class DenseBlock(GraphBlock):
    """Compute every image in every loop and choose: for runtimes without control flow. It skips nothing."""

    def forward(self, x: Tensor, threshold: Tensor) -> Result:
        """Loop."""
        going = torch.ones_like(x[:, 0, 0, 0], dtype=torch.bool)
        count = torch.zeros_like(going, dtype=torch.int64)
        for loop in range(self.num_loops):
            going = going & self.goes_on(x, threshold)
            x, count = torch.where(going[:, None, None, None], self.body(x, loop, None), x), count + going
        return x, count


class ConditionalBlock(GraphBlock):
    """A condition around the block and, inside it, one around every further loop (ONNX If). Abstract.

    Where a condition is not met its input is copied, so a closed gate costs one copy, whatever L. Two levels and not L:
    tracing visits a condition several times, and those inside it several times each.
    """

    def forward(self, x: Tensor, threshold: Tensor) -> Result:
        """Loop."""

        def pass_by(x: Tensor, going: Tensor, threshold: Tensor) -> Result:
            return x.clone(), going.to(torch.int64)

        going = self.goes_on(x, threshold)
        return torch.cond(going.any(), self.enter, pass_by, (x, going, threshold))

    def enter(self, x: Tensor, going: Tensor, threshold: Tensor) -> Result:
        """All loops, for the images that execute the first."""
        raise NotImplementedError

    def execute(self, x: Tensor, going: Tensor, loop: int) -> Tensor:
        """One loop for the images that go on."""
        raise NotImplementedError

    def loop_on(self, x: Tensor, ones: Tensor, threshold: Tensor) -> Result:
        """All loops, for images that all execute the first; ``ones`` is int64 ``(M,)``."""

        def stay(x: Tensor, going: Tensor, count: Tensor) -> Result:
            return x.clone(), count.clone()

        x, count = self.body(x, 0, None), ones
        for loop in range(1, self.num_loops):

            def run(x: Tensor, going: Tensor, count: Tensor, loop: int = loop) -> Result:
                return self.execute(x, going, loop), count + going

            going = self.goes_on(x, threshold) & (count == loop)  # to leave is final
            x, count = torch.cond(going.any(), run, stay, (x, going, count))
        return x, count


class BranchingBlock(ConditionalBlock):
    """For any batch: the images that go on are taken out of it, computed, and put back."""

    def enter(self, x: Tensor, going: Tensor, threshold: Tensor) -> Result:
        """All loops."""
        rows = rows_of(going)
        y, count = self.loop_on(x.index_select(0, rows), torch.ones_like(rows), threshold)
        return x.index_copy(0, rows, y), going.to(torch.int64).index_copy(0, rows, count)

    def execute(self, x: Tensor, going: Tensor, loop: int) -> Tensor:
        """One loop."""
        rows = rows_of(going)
        return x.index_copy(0, rows, self.body(x.index_select(0, rows), loop, None))


class SingleBlock(ConditionalBlock):
    """For batches of one image, which need not be taken out and put back."""

    def enter(self, x: Tensor, going: Tensor, threshold: Tensor) -> Result:
        """All loops."""
        return self.loop_on(x, going.to(torch.int64), threshold)

    def execute(self, x: Tensor, going: Tensor, loop: int) -> Tensor:
        """One loop."""
        return self.body(x, loop, None)


def rows_of(going: Tensor) -> Tensor:
    """Which images go on, ``(M,)``; at least one does."""
    rows = going.nonzero()[:, 0]
    torch._check(rows.shape[0] > 0)
    return rows


class CompactBlock(GraphBlock):
    """One copy of the body in the graph, run while any image goes on (ONNX Loop).

    Its norms must take the loop as a tensor.
    """

    def forward(self, x: Tensor, threshold: Tensor) -> Result:
        """Loop."""
        from torch._higher_order_ops.while_loop import while_loop

        def unfinished(loop: Tensor, x: Tensor, going: Tensor, count: Tensor, threshold: Tensor) -> Tensor:
            return (loop < self.num_loops) & going.any()

        def run(loop: Tensor, x: Tensor, going: Tensor, count: Tensor, threshold: Tensor):
            rows = going.nonzero()[:, 0]
            y = self.body(x.index_select(0, rows), loop, None)
            more = going.index_copy(0, rows, self.goes_on(y, threshold))
            return loop + 1, x.index_copy(0, rows, y), more, count + going, threshold.clone()

        going = self.goes_on(x, threshold)
        first = torch.zeros((), dtype=torch.int64, device=x.device)
        state = (first, x, going, torch.zeros_like(going, dtype=torch.int64), threshold)
        _, x, _, count, _ = while_loop(unfinished, run, state)
        return x, count
