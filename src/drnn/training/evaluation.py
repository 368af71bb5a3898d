"""How good a network is, and what each image costs it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from drnn.core import GateRecord
from drnn.costs import Costs, count_costs
from drnn.data import Normalize, Source
from drnn.models import Classifier
from drnn.training.distributed import Workers


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
        return int((self.logits.argmax(1) == self.labels).sum()) / len(self.labels)

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
        macs, loops, slots = self.macs.cpu(), self.loops.cpu(), len(self.costs.loop_macs)  # float64 is not everywhere
        return {
            "images": len(self.labels),
            "acc1": self.acc1,
            "loss": self.loss,
            "mean_loops": float(loops.double().mean()),
            "max_loops": slots,
            "loops_histogram": torch.bincount(loops, minlength=slots + 1).tolist(),
            "macs_mean": float(macs.double().mean()),
            "macs_std": float(macs.double().std(correction=0)),
            "macs_min": int(macs.min()),
            "macs_max": int(macs.max()),
            "max_macs": self.costs.max_macs,
            "executed_rates": executed_rates(self.record),
        }


def executed_rates(record: GateRecord) -> list[float | None]:
    """Executed over arrived at each of the T loop slots; None where no image arrived."""
    pairs = zip(record.executed.sum(0).tolist(), record.arrived.sum(0).tolist(), strict=True)
    return [executed / arrived if arrived else None for executed, arrived in pairs]


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
    size = (images.shape[1], images.shape[2], images.shape[3])
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return Evaluation(*_predict(model, batches if len(images) else (), prepare), costs or count_costs(model, size))


def evaluate_source(
    model: Classifier,
    source: Source,
    workers: Workers | None = None,
    batch_size: int = 500,
    costs: Costs | None = None,
) -> Evaluation:
    """The same over the test images of ``source``, shared among ``workers``: each image counts once, on every process.

    Without ``workers`` this process does it all, where the model is.

    Raises:
        ValueError: no test images.
    """
    workers = workers or Workers(next(model.parameters()).device)
    normalize, device = Normalize.of(source), workers.device
    batches = ((x.to(device), y.to(device)) for x, y in source.test_batches(batch_size, workers.share))
    logits, labels, record = _predict(model, batches, normalize)
    gathered = GateRecord(*(workers.gather(part) for part in record))
    costs = costs or count_costs(model, source.image_size)
    return Evaluation(workers.gather(logits), workers.gather(labels), gathered, costs)


@contextmanager
def same_noise(device: torch.device) -> Iterator[None]:
    """Gates with noise in evaluation draw the same for the same batches each time, and nobody else notices."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


@torch.inference_mode()
def _predict(
    model: Classifier, batches: Iterable[tuple[Tensor, Tensor]], prepare: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, GateRecord]:
    """Logits, labels and record of all batches. Noise, where a gate has it, is the same at every call."""
    was_training, parts = model.training, []
    model.eval()
    device = next(model.parameters()).device
    try:
        with same_noise(device):
            for images, labels in batches:
                parts.append((*model.forward_with_gates(prepare(images)), labels))
    finally:
        model.train(was_training)
    if not parts:
        raise ValueError("no images to evaluate on")
    logits, records, labels = zip(*parts, strict=True)
    record = GateRecord(*(torch.cat(columns) for columns in zip(*records, strict=True)))
    return torch.cat(logits), torch.cat(labels), record
