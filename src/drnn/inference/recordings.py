"""Pieces of work on one image, recorded as CUDA graphs, so that the host starts many kernels at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from drnn.core.modes import autocasts, has_derivative
from drnn.cuda_graphs import Replay, record

Work = Callable[[Tensor], Tensor]
WARMUP_CALLS, MOST_SHAPES = 3, 8  # before recording; of one piece of work, before further ones run unrecorded


class Recording(ABC):
    """``work`` with its kernels and its memory fixed, for inputs like x; called like it.

    What comes in is copied to where the recording reads, and what goes out from where it writes. So all recordings of a
    network can share memory and be replayed in any order, which depends on the image.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, work: Work, x: Tensor, place: Any):
        self.images = x.clone()
        self.result, self.replay = self.record(work, place)

    @abstractmethod
    def record(self, work: Work, place: Any) -> tuple[Tensor, Replay]:
        """Where a replay of ``work(self.images)`` writes, and the replay."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Replay; the result is the caller's own."""
        self.images.copy_(x)
        self.replay()
        return self.result.clone()


class CudaGraph(Recording):
    """A recording as a CUDA graph; ``place`` is the pool of memory and the stream of its network."""

    def record(self, work: Work, place: Any) -> tuple[Tensor, Replay]:
        """Warm up, then record."""
        pool, stream = place

        def warm_up() -> None:
            for _ in range(WARMUP_CALLS):
                work(self.images)

        return record(warm_up, lambda: work(self.images), stream, pool)


class Recordings:
    """The recordings of one network: for every piece of work and shape one, made when it is met for the first time."""

    def __init__(self, make: type[Recording] = CudaGraph):
        self.make, self.place = make, None
        self.made: dict[tuple, Recording] = {}

    def run(self, piece: tuple, work: Work, x: Tensor) -> Tensor:
        """``work(x)``; recorded where `can_record` says so, as it is elsewhere."""
        if not self.can_record(x):
            return work(x)
        layout = tuple(step for step, size in zip(x.stride(), x.shape, strict=True) if size > 1)
        key = (*piece, x.shape, layout, x.dtype, x.device)
        if key not in self.made:
            if sum(known[: len(piece)] == piece for known in self.made) >= MOST_SHAPES:
                return work(x)
            if self.place is None and x.is_cuda:
                self.place = torch.cuda.graph_pool_handle(), torch.cuda.Stream(x.device)
            self.made[key] = self.make(work, x, self.place)
        return self.made[key](x)

    def can_record(self, x: Tensor) -> bool:
        """Whether x is one image on a GPU, without autocast or gradients, and nobody else is recording."""
        return x.is_cuda and len(x) == 1 and not _is_special(x) and not torch.cuda.is_current_stream_capturing()

    def forget(self) -> None:
        """Drop all of them: the weights they read have gone elsewhere."""
        self.made.clear()
        self.place = None

    def __deepcopy__(self, memo: dict) -> "Recordings":
        return type(self)(self.make)

    def __reduce__(self) -> tuple:
        return type(self), (self.make,)


def _is_special(x: Tensor) -> bool:
    return has_derivative(x) or autocasts(x)
