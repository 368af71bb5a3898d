"""A residual block that runs its one body up to ``num_loops`` times and asks its one gate before every loop."""

from collections.abc import Callable
from numbers import Integral

from torch import Tensor, nn

from drnn.core.body import refuse_other_calls, wants_every_image
from drnn.core.gates import OpenGate
from drnn.core.loops import loop_always, loop_arrivals, loop_dense, loop_executing, loop_masking
from drnn.core.record import GateRecord, LoopStep, collected, report

LoopForm = Callable[[nn.Module, nn.Module, int, Tensor], tuple[Tensor, list[LoopStep]]]


class RecursiveBlock(nn.Module):
    """The dynamic recursive block. To leave is final; an image that never enters passes unchanged.

    With ``a_0 = 1`` and g_t the gate's answer to the x of that moment, for t = 1..L::

        a_t = a_(t-1) * g_t
        x   = a_t * body(x, t) + (1 - a_t) * x

    Training computes the images that *arrive* at a loop, which is all that any gradient needs; norms that take
    their statistics over the whole batch get all of it. Evaluation computes only the images that *execute*; elsewhere
    than on a CPU, of 128 images and more, a few of those who just left as well: see `drnn.core.sorting`.

    Body and gate may be replaced: the form in which it loops follows from what it has when it is called.

    Args:
        body: called as ``body(x, loop, groups)``; keeps the shape, and x as it was; the residual is inside. In
            evaluation what it returns is the block's own, and may be overwritten.
        gate: ``(N, C, H, W) -> GateDecision``; one, shared by all loops.
        num_loops: L >= 1.

    Shape: ``(N, C, H, W) -> (N, C, H, W)``.

    Attributes:
        dense: whether it computes every image in every loop and masks, see `set_dense`.

    Raises:
        TypeError: a body that cannot be called so.
        ValueError: ``num_loops`` below 1, or no whole number.

    Source: Section 1 and Figure 8 (11.921 loops expected of 23 at rate .7 holds only if the first loop is gated too).
    """

    def __init__(self, body: nn.Module, gate: nn.Module, num_loops: int):
        super().__init__()
        if not isinstance(num_loops, Integral) or num_loops < 1:
            raise ValueError(f"num_loops = {num_loops!r} received; give a whole number, 1 or more")
        refuse_other_calls(body)
        self.body, self.gate, self.num_loops, self.dense = body, gate, int(num_loops), False

    def extra_repr(self) -> str:
        """What its modules do not tell."""
        return f"num_loops={self.num_loops}"

    def set_dense(self, dense: bool) -> None:
        """Choose the form without data-dependent shapes (for graphs and compilers), or the one that skips."""
        self.dense = dense

    @property
    def training_form(self) -> LoopForm:
        """How it loops in training."""
        if isinstance(self.gate, OpenGate):
            return loop_always
        return loop_dense if self.dense or wants_every_image(self.body) else loop_arrivals

    @property
    def evaluation_form(self) -> LoopForm:
        """How it loops in evaluation."""
        if isinstance(self.gate, OpenGate):
            return loop_always
        return loop_masking if self.dense else loop_executing

    def forward(self, x: Tensor) -> Tensor:
        """Loop over x ``(N, C, H, W)``, and report what the gate did, see `drnn.core.record.collected`.

        Raises:
            ValueError: x is of another shape, or what `drnn.core.body.looped` refuses.
        """
        if x.dim() != 4:
            raise ValueError(f"{tuple(x.shape)} received; a block that loops takes maps (N, C, H, W)")
        form = self.training_form if self.training else self.evaluation_form
        y, steps = form(self.gate, self.body, self.num_loops, x)
        report(lambda: self._record(steps, x), learns=self.training)
        return y

    def forward_with_gates(self, x: Tensor) -> tuple[Tensor, GateRecord]:
        """Loop over x ``(N, C, H, W)`` and tell what the gate did, ``(N, L)``."""
        with collected() as records:
            y = self.forward(x)
        return y, records[-1]  # blocks inside report first

    def _record(self, steps: list[LoopStep], x: Tensor) -> GateRecord:
        columns = [step.expand(x.shape[0]) for step in steps]
        never = GateRecord(*(column.new_zeros(x.shape[0], 1) for column in columns[0]))
        return GateRecord.join(columns + [never] * (self.num_loops - len(steps)), like=x)
