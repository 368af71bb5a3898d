"""Which images make up which batch, on which of several processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from drnn.data.seeds import generator_at


@dataclass(frozen=True)
class Share:
    """One of ``processes`` equal processes that work on each batch together.

    Raises:
        ValueError: a rank that is not 0..processes - 1.
    """

    rank: int = 0
    processes: int = 1

    def __post_init__(self):
        if not 0 <= self.rank < self.processes:
            raise ValueError(f"rank {self.rank} of {self.processes} processes received; it is 0..{self.processes - 1}")


ALONE = Share()


@dataclass(frozen=True)
class EpochPlan:
    """The training batches of one epoch, from batch ``first`` on; a function of its fields and of nothing else.

    Args:
        seed: of the run.
        epoch: 0-based.
        batch_size: images a batch, over all processes; the last, smaller batch is left out.
        first: 0-based batch to begin with.

    Raises:
        ValueError: a batch size below 1.
    """

    seed: int
    epoch: int
    batch_size: int
    first: int = 0

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} received; it is 1 or more")

    def num_batches(self, num_images: int) -> int:
        """Batches of the whole epoch."""
        return num_images // self.batch_size

    def batches(self, num_images: int) -> Iterator[tuple[int, Tensor]]:
        """``(batch number, rows int64 (batch_size,))``, each of ``num_images`` images at most once."""
        order = torch.randperm(num_images, generator=generator_at(self.seed, self.epoch))
        for number in range(self.first, self.num_batches(num_images)):
            yield number, order[number * self.batch_size : (number + 1) * self.batch_size]

    def generator(self, number: int) -> torch.Generator:
        """The randomness of one batch's augmentation."""
        return generator_at(self.seed, self.epoch, number)


def part_of(batch: Tensor, share: Share) -> Tensor:
    """One process's equal, contiguous part of ``batch (N, ...)``.

    Raises:
        ValueError: N does not divide by the number of processes.
    """
    if len(batch) % share.processes:
        raise ValueError(
            f"a batch of {len(batch)} does not divide by {share.processes} processes; choose a batch_size that does"
        )
    return batch.chunk(share.processes)[share.rank]
