"""How good a network is, and what each image costs it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from drnn.core import GateRecord
from drnn.costs import Costs, count_costs
from drnn.models import Classifier


@dataclass(frozen=True)
class Evaluation:
    """N test images: ``logits (N, K)``, ``labels (N,)``, the gates' ``record (N, T)``, and what a loop costs."""

    logits: Tensor
    labels: Tensor
    record: GateRecord
    costs: Costs

    @property
    def acc1(self) -> float:
        """Accuracy, as a fraction."""
        return float((self.logits.argmax(1) == self.labels).float().mean())

    @property
    def loss(self) -> float:
        """Mean cross entropy."""
        return float(torch.nn.functional.cross_entropy(self.logits, self.labels))

    @property
    def loops(self) -> Tensor:
        """Loops each image executed, int64 ``(N,)``."""
        return self.record.executed.sum(1)

    @property
    def macs(self) -> Tensor:
        """Multiply-adds of each image, int64 ``(N,)``."""
        return self.costs.macs_per_image(self.record)

    def summary(self) -> dict:
        """Plain numbers, as a result file keeps them."""
        macs, loops, slots = self.macs, self.loops, len(self.costs.loop_macs)
        return {
            "images": len(self.labels),
            "acc1": self.acc1,
            "loss": self.loss,
            "mean_loops": float(loops.float().mean()),
            "max_loops": slots,
            "loops_histogram": torch.bincount(loops, minlength=slots + 1).tolist(),
            "macs_mean": float(macs.double().mean()),
            "macs_min": int(macs.min()),
            "macs_max": int(macs.max()),
            "max_macs": self.costs.max_macs,
            "executed_rates": executed_rates(self.record),
        }


def executed_rates(record: GateRecord) -> list[float | None]:
    """Executed over arrived at each of the T loop slots; None where no image arrived."""
    pairs = zip(record.executed.sum(0).tolist(), record.arrived.sum(0).tolist(), strict=True)
    return [executed / arrived if arrived else None for executed, arrived in pairs]


@torch.inference_mode()
def evaluate(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int = 500,
    costs: Costs | None = None,
) -> Evaluation:
    """Run ``model`` in evaluation mode, which is undone afterwards, over uint8 images ``(N, C, H, W)``.

    Args:
        model: the network.
        images: as the data set holds them.
        labels: int64 ``(N,)``.
        prepare: from uint8 to what the network takes, such as `drnn.data.Normalize`.
        batch_size: images at a time.
        costs: of ``model`` for images of this size, where they are known; counted otherwise.

    Raises:
        ValueError: no images.
    """
    if len(images) == 0:
        raise ValueError("no images to evaluate on")
    was_training = model.training
    model.eval()
    try:
        parts = [model.forward_with_gates(prepare(batch)) for batch in images.split(batch_size)]
    finally:
        model.train(was_training)
    record = GateRecord(*(torch.cat(columns) for columns in zip(*(record for _, record in parts), strict=True)))
    size = (images.shape[1], images.shape[2], images.shape[3])
    costs = costs or count_costs(model, size)
    return Evaluation(torch.cat([logits for logits, _ in parts]), labels, record, costs)
