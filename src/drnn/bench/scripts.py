"""Which image loops how often in which block: drawn, for timing networks whose gates are not trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from drnn.core import GateRecord


@dataclass(frozen=True)
class LoopScript:
    """Loops of P images in B blocks, int64 ``(P, B)``."""

    loops: Tensor

    @property
    def totals(self) -> Tensor:
        """Loops of each image, ``(P,)``."""
        return self.loops.sum(1)

    def split(self, batch_size: int) -> "list[LoopScript]":
        """Batches of at most so many images."""
        return [LoopScript(loops) for loops in self.loops.split(batch_size)]

    def record(self, slots: tuple[int, ...]) -> GateRecord:
        """What the gates of blocks with ``slots`` loops do that follow the script, ``(P, T)``.

        Raises:
            ValueError: another number of blocks.

        Example:
            >>> script = LoopScript(torch.tensor([[1, 0], [2, 3]]))
            >>> script.record((2, 3)).executed.int().tolist()
            [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
            >>> script.record((2, 3)).arrived.int().tolist()
            [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
        """
        if len(slots) != self.loops.shape[1]:
            raise ValueError(f"a script of {self.loops.shape[1]} blocks received for a network of {len(slots)}")
        loop = torch.cat([torch.arange(count) for count in slots])
        done = self.loops.repeat_interleave(torch.tensor(slots), 1)
        arrived, executed = done >= loop, done > loop
        return GateRecord(arrived, executed, executed.float(), executed.float())


def script_by_rate(slots: tuple[int, ...], rate: float, images: int, seed: int = 0) -> LoopScript:
    """Every gate executes an image that arrives with probability ``rate``; to leave is final.

    Args:
        slots: loops of each of the B blocks.
        rate: in 0..1.
        images: P.
        seed: of the draw.

    Raises:
        ValueError: a rate outside 0..1.

    Example:
        >>> script_by_rate((3, 2), 1.0, images=2).loops.tolist()
        [[3, 2], [3, 2]]
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate {rate} received; a rate lies between 0 and 1")
    generator, most = torch.Generator().manual_seed(seed), max(slots)
    goes = torch.rand(images, len(slots), most, generator=generator) < rate
    return LoopScript(torch.minimum(goes.long().cumprod(2).sum(2), torch.tensor(slots)))


def script_by_total(
    slots: tuple[int, ...], mean: float, std: float, images: int, rate: float, seed: int = 0
) -> LoopScript:
    """Images whose totals are normal with ``mean`` and ``std``, as Figure 8's histogram is.

    Totals are drawn, rounded and shifted until their mean is ``mean`` to within half a loop in all. Each then gets the
    blocks of an image drawn by `script_by_rate` that has just this total, so that gates execute at about ``rate``.

    Raises:
        ValueError: a mean that these blocks cannot reach.

    Source: Figure 8: DR-ResNet 53 executes 11.74 of 23 loops on average, with a standard deviation of 1.50.
    """
    if not 0 <= mean <= sum(slots):
        raise ValueError(f"mean of {mean} loops received; these blocks loop 0 to {sum(slots)} times")
    generator = torch.Generator().manual_seed(seed)
    spread = max(std**2 - 1 / 12, 0.0) ** 0.5  # rounding adds the variance of one step
    totals = (torch.randn(images, generator=generator) * spread + mean).round().long().clamp(0, sum(slots))
    while (missing := round(mean * images) - int(totals.sum())) != 0:
        image = int(torch.randint(images, (1,), generator=generator))
        totals[image] = min(max(int(totals[image]) + (1 if missing > 0 else -1), 0), sum(slots))
    pool = script_by_rate(slots, rate, 20000, seed)
    rows, reached = [], pool.totals
    of_total = {total: (reached == total).nonzero()[:, 0] for total in set(totals.tolist())}
    for total in totals.tolist():
        fitting = of_total[total]
        if len(fitting) == 0:
            raise ValueError(f"no image of {total} loops among 20000 at rate {rate}; take a rate nearer to the mean")
        rows.append(int(fitting[torch.randint(len(fitting), (1,), generator=generator)]))
    return LoopScript(pool.loops[rows])
