"""Two pieces of work timed against each other, in pairs, in one run: the ratio survives a noisy machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

import torch


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of both sides, one entry a pair.

    Attributes:
        first_s: seconds of the first side.
        second_s: seconds of the second side, measured right before or after.
    """

    first_s: tuple[float, ...]
    second_s: tuple[float, ...]

    @property
    def medians_s(self) -> tuple[float, float]:
        """Median seconds of each side."""
        return median(self.first_s), median(self.second_s)

    @property
    def p95_s(self) -> tuple[float, float]:
        """95th percentile of the seconds of each side."""
        return p95(self.first_s), p95(self.second_s)

    @property
    def ratio(self) -> float:
        """Median over the pairs of first / second."""
        return median(a / b for a, b in zip(self.first_s, self.second_s, strict=True))


def p95(seconds: tuple[float, ...]) -> float:
    """95th percentile; the largest where there are fewer than two."""
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else max(seconds)


def time_pairs(
    first: Callable[[int], object],
    second: Callable[[int], object],
    rounds: int,
    warmup: int = 3,
    *,
    device: torch.device | str,
) -> PairedTimes:
    """Time both sides one right after the other, ``rounds`` times; who goes first alternates.

    Args:
        first: called with the number of the pair, which is below 0 while warming up.
        second: likewise.
        rounds: pairs that are kept.
        warmup: pairs before them that are not.
        device: where both work.

    Raises:
        ValueError: no rounds, or a device that cannot be waited for.
    """
    return PairedTimes(*time_in_turns((first, second), rounds, warmup, device=device))


def time_in_turns(
    works: Sequence[Callable[[int], object]],
    rounds: int,
    warmup: int = 3,
    *,
    device: torch.device | str,
    before: Callable[[int], object] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """Time several sides one right after the other, ``rounds`` times, every other time in reverse.

    A machine that changes its pace changes it for all of them.

    Args:
        works: each is called with the number of the round, which is below 0 while warming up.
        rounds: that are kept.
        warmup: rounds before them that are not.
        device: where all of them work.
        before: called with the number of a side before each of its works; its time is not taken.

    Returns:
        Seconds of each side, round by round.

    Raises:
        ValueError: no rounds, or a device that cannot be waited for.
    """
    if rounds < 1:
        raise ValueError(f"rounds {rounds} received; time 1 or more")
    kept: list[list[float]] = [[] for _ in works]
    for turn in range(-warmup, rounds):
        sides = list(enumerate(zip(works, kept, strict=True)))
        for side, (work, times) in sides if turn % 2 else reversed(sides):
            if before is not None:
                before(side)
            spent = seconds(work, turn, device=device)
            if turn >= 0:
                times.append(spent)
    return tuple(map(tuple, kept))


def seconds(work: Callable[[int], object], turn: int = 0, *, device: torch.device | str) -> float:
    """Wall-clock seconds of one call, with all that it starts on ``device``; where nobody uses a GPU, none is started.

    Raises:
        ValueError: a device that cannot be waited for.
    """
    wait(device)
    started = perf_counter()
    work(turn)
    wait(device)
    return perf_counter() - started


def wait(device: torch.device | str) -> None:
    """Until ``device`` has done all that it was given, be it the current one or not; a CPU always has.

    Raises:
        ValueError: a device that torch cannot wait for, so that nothing can be timed there.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return
    known = torch.accelerator.current_accelerator()
    if known is None or known.type != device.type:
        raise ValueError(
            f"device {str(device)!r} received, which cannot be waited for and so not timed; try auto or cpu"
        )
    torch.accelerator.synchronize(device)
