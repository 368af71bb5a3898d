"""What the gates did with a batch, and how that comes from the blocks to who asks for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from drnn.core.gates import GateDecision


class GateRecord(NamedTuple):
    """What happened at each of the T loop slots, in order; every tensor is ``(N, T)``.

    ``arrived`` and ``executed`` are bool, ``executed`` implies ``arrived``. ``probability`` is the gate's own, 0 where
    the image did not arrive. ``decision`` has the value of ``executed`` and the straight-through gradient.
    """

    arrived: Tensor
    executed: Tensor
    probability: Tensor
    decision: Tensor

    @classmethod
    def join(cls, records: "list[GateRecord]", like: Tensor) -> "GateRecord":
        """Put records of N images side by side; none at all gives ``(N, 0)``, N and device taken from ``like``."""
        if records:
            return cls(*(torch.cat(parts, 1) for parts in zip(*records, strict=True)))
        empty = like.new_zeros(like.shape[0], 0)
        return cls(empty.bool(), empty.bool(), empty, empty)


class LoopStep(NamedTuple):
    """One loop as a loop form saw it: the gate's answer for M images.

    They are the images at ``rows`` ``(M,)``, or all N where that is None; of these only ``arrived`` ``(M,)`` count.
    """

    answer: GateDecision
    rows: Tensor | None = None
    arrived: Tensor | None = None

    def expand(self, count: int) -> GateRecord:
        """The same as a record of shape ``(N, 1)``, N being ``count``."""
        executes, probability, decision = self.answer.executes, self.answer.probability, self.answer.decision
        arrived = torch.ones_like(executes) if self.arrived is None else self.arrived
        record = GateRecord(arrived, arrived & executes, probability * arrived, decision * arrived)
        if self.rows is not None:
            rows = self.rows
            record = GateRecord(*(part.new_zeros(count).index_copy(0, rows, part) for part in record))
        return GateRecord(*(part[:, None] for part in record))


_asked = threading.local()


@contextmanager
def collected() -> Iterator[list[GateRecord]]:
    """What gated blocks report that are called meanwhile, by this thread, in the order of their calls.

    So whatever stands between a network and its blocks, such as a container or a compiler, need not know of records.
    """
    before = getattr(_asked, "records", None)
    _asked.records = records = []
    try:
        yield records
    finally:
        _asked.records = before


def is_collecting() -> bool:
    """Whether someone wants to know what blocks do."""
    return getattr(_asked, "records", None) is not None


def report(make: Callable[[], GateRecord], learns: bool) -> None:
    """Of a block that was called, where someone wants to know: its record.

    Args:
        make: makes it; called otherwise only where gradients go through it, as activation checkpointing wants the same
            tensors again when nobody asks any more.
        learns: whether the block is in training mode.
    """
    records = getattr(_asked, "records", None)
    if records is not None:
        records.append(make())
    elif learns and torch.is_grad_enabled():
        make()
