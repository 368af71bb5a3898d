"""Two networks that are timed against each other, and which can be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from drnn.bench.subjects import input_size_of, is_foreign, is_run, skeleton
from drnn.core import Gate, GateRecord, RecursiveBlock
from drnn.costs import Costs
from drnn.models import Classifier
from drnn.models.classifier import GATED


@dataclass(frozen=True)
class Pair:
    """A recursive network and a static one, and what the first executes in each of the R rounds.

    Attributes:
        first: the recursive network.
        second: the static one.
        costs: of the first, for these images.
        static_macs: of the second, an image.
        batches: R batches ``(N, C, H, W)``, or one for all rounds.
        run: runs the first on the batch of a round.
        records: what the first executes of each round's batch, R of them.
        gates: "scripted" or "as trained".
    """

    first: Classifier
    second: nn.Module
    costs: Costs
    static_macs: int
    batches: tuple[Tensor, ...]
    run: Callable[[int], object]
    records: Sequence[GateRecord]
    gates: str

    def batch(self, turn: int) -> Tensor:
        """The images of a round."""
        return self.batches[turn % len(self.batches)]

    @property
    def executed(self) -> Tensor:
        """Loop slots of every image, bool ``(R * N, T)``."""
        return torch.cat([record.executed for record in self.records]).cpu()

    @property
    def macs(self) -> list[int]:
        """Multiply-adds of each round's batch, R values."""
        return [int(self.costs.macs_per_image(record).sum()) for record in self.records]

    @property
    def share(self) -> float:
        """Multiply-adds executed inside loops, of those of all loops of all images."""
        executed, every = self.executed, torch.tensor(self.costs.loop_macs)
        return int((executed * every).sum()) / (int(every.sum()) * len(executed))


def refuse_foreign(*names: str) -> None:
    """Networks of torchvision are timed in torch, as they are.

    Raises:
        ValueError: one of theirs.
    """
    for name in filter(is_foreign, names):
        raise ValueError(f"{name} received, which is not exported here; give one of drnn models, or time it in torch")


def refuse_pair(first: str, second: str) -> None:
    """A pair is a network that skips and one that does not, for images of one size, for which both are counted.

    Raises:
        ValueError: other networks.
    """
    if not is_foreign(first):
        refuse_open(skeleton(first), first)
    refuse_gates(second)
    refuse_sizes(first, input_size_of(first), second)


def refuse_open(model: nn.Module, first: str) -> None:
    """Every gated block of the first network is a recursive one that asks a gate, and there is one.

    Raises:
        ValueError: another network.
    """
    blocks = gated_blocks(model)
    if not blocks or not all(isinstance(block, RecursiveBlock) and isinstance(block.gate, Gate) for block in blocks):
        raise ValueError(
            f"{first} received as the first network, which asks no gates before its loops; give a recursive one with "
            "gates, as the dr_* of drnn models have them, or torchvision's"
        )


def refuse_gates(second: str) -> None:
    """The second network computes all that it has, so that its multiply-adds are known beforehand.

    Raises:
        ValueError: a network with gates, or a folder.
    """
    if is_run(second):
        raise ValueError(f"the folder {second} received as the second network; give a static one by name")
    if not is_foreign(second) and any(isinstance(block.gate, Gate) for block in gated_blocks(skeleton(second))):
        raise ValueError(f"{second} received as the second network, which has gates; give a static one by name")


def refuse_sizes(first: str, size: tuple[int, int, int], second: str) -> None:
    """Both are timed on the same images, of the size that they are for.

    Raises:
        ValueError: networks for images of other sizes.
    """
    other = input_size_of(second)
    if size != other:
        raise ValueError(
            f"{first} takes images of {size} and {second} of {other}; give two networks for the same images"
        )


def gated_blocks(model: nn.Module) -> list[Any]:
    """Blocks that ask a gate, or have one that is always open."""
    return [block for block in model.modules() if isinstance(block, GATED)]
