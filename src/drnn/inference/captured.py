"""Batches of one image on a GPU: stretches of layers recorded as CUDA graphs, so the host starts each in one call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from drnn.core import Gate, LoopGroups, RecursiveBlock
from drnn.inference.folded_gate import FoldedGate
from drnn.models import Classifier
from drnn.models.classifier import GATED

Work = Callable[[Tensor], Tensor]
WARMUP_CALLS, MOST_SHAPES = 3, 8  # before recording; of one stretch, before further ones run unrecorded


class Recording:
    """``work`` as one CUDA graph, for inputs like x; called like it.

    What comes in is copied to where the graph reads, what goes out from where it writes. So all recordings of a network
    can share memory and be replayed in any order, which depends on the image.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, work: Work, x: Tensor, pool: Any = None):
        self.images, self.graph = x.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.device(x.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries choose their kernels and workspaces before anything is recorded
                for _ in range(WARMUP_CALLS):
                    work(self.images)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(self.graph, pool=pool):
                self.result = work(self.images)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Replay; the result is the caller's own."""
        self.images.copy_(x)
        self.graph.replay()
        return self.result.clone()


class Recordings:
    """The recordings of one network: one for each stretch, loop and shape, made when it is met for the first time."""

    def __init__(self, make: Callable[[Work, Tensor, Any], Work] = Recording):
        self.make, self.pool = make, None
        self.made: dict[tuple, Work] = {}

    def run(self, stretch: tuple, work: Work, x: Tensor) -> Tensor:
        """``work(x)``; recorded where x is one image on a GPU, as it is elsewhere."""
        if not self.can_record(x):
            return work(x)
        key = (*stretch, x.shape, x.stride(), x.dtype, x.device)
        if key not in self.made:
            if sum(known[: len(stretch)] == stretch for known in self.made) >= MOST_SHAPES:
                return work(x)
            if self.pool is None and x.is_cuda:
                self.pool = torch.cuda.graph_pool_handle()
            self.made[key] = self.make(work, x, self.pool)
        return self.made[key](x)

    def can_record(self, x: Tensor) -> bool:
        """Whether x is one image on a GPU that no gradient follows."""
        follows = torch.is_grad_enabled() and x.requires_grad
        return x.is_cuda and len(x) == 1 and not follows

    def forget(self) -> None:
        """Drop all of them: the weights they read have gone elsewhere."""
        self.made.clear()

    def __deepcopy__(self, memo: dict) -> "Recordings":
        return type(self)(self.make)

    def __reduce__(self) -> tuple:
        return type(self), (self.make,)


class Stretch(nn.Module):
    """Calls without a decision between them, in a row, as one recording. It owns no module: the network does."""

    def __init__(self, parts: tuple[Work, ...], recordings: Recordings, name: str):
        super().__init__()
        self.parts, self.recordings, self.name = parts, recordings, name

    def forward(self, x: Tensor) -> Tensor:
        """Run them."""
        return self.recordings.run((self.name,), self.in_turn, x)

    def in_turn(self, x: Tensor) -> Tensor:
        """The calls themselves."""
        for part in self.parts:
            x = part(x)
        return x


class CapturedBody(nn.Module):
    """The body of a recursive block: every loop, which has weights of its own, is a recording of its own."""

    def __init__(self, body: nn.Module, recordings: Recordings, name: str):
        super().__init__()
        self.body, self.recordings, self.name = body, recordings, name

    def forward(self, x: Tensor, loop: int = 0, groups: LoopGroups | None = None) -> Tensor:
        """Run one loop."""
        return self.recordings.run((self.name, loop), lambda images: self.body(images, loop, groups), x)


class CapturedGate(FoldedGate):
    """A `FoldedGate` whose pooling and layers are one recording; its threshold may still move."""

    def __init__(self, gate: FoldedGate, recordings: Recordings, name: str):
        super().__init__(gate)
        self.recordings, self.name = recordings, name

    def margin(self, x: Tensor) -> Tensor:
        """Of each image ``(N,)``."""
        return self.recordings.run((self.name,), super().margin, x)


class CapturedNetwork(Classifier):
    """An optimised network whose layers between two decisions are one CUDA graph for batches of one image.

    A static network becomes one graph; a recursive one a graph for what stands before, between and behind its recursive
    blocks, and in each of these one for the gate and one for every loop. The device is waited for once a gate. Other
    batches, and other devices, run as before.

    Args:
        network: an optimised network. It is taken over: gates and bodies of its recursive blocks are wrapped.
        recordings: where recordings are kept.
    """

    def __init__(self, network: Classifier, recordings: Recordings | None = None):
        super().__init__()
        self.name, self.num_classes = network.name, network.num_classes
        self.input_size, self.target_rate = network.input_size, network.target_rate
        self.network, self.recordings = network, recordings or Recordings()
        rows: list[nn.Module] = []
        parts: list[Work] = [network.stem]
        for number, block in enumerate(network.blocks()):
            if not isinstance(block, GATED):
                parts.append(block)
                continue
            if parts:
                rows.append(self._stretch(parts, number))
            rows.append(block)
            parts = []
            if isinstance(block, RecursiveBlock):
                block.body = CapturedBody(block.body, self.recordings, f"body {number}")
                if isinstance(block.gate, FoldedGate):
                    block.gate = CapturedGate(block.gate, self.recordings, f"gate {number}")
        self.rows = (*rows, self._stretch([*parts, network.head], -1))  # a tuple: the network owns its blocks
        self.eval()

    def _stretch(self, parts: list[Work], number: int) -> Stretch:
        return Stretch(tuple(parts), self.recordings, f"stretch {number}")

    def stem(self, x: Tensor) -> Tensor:
        """Nothing: what stands before the first decision is the first of `blocks`."""
        return x

    def blocks(self) -> tuple[nn.Module, ...]:
        """Recursive blocks, and before, between and behind them what has no decision."""
        return self.rows

    def head(self, x: Tensor) -> Tensor:
        """Nothing: it is part of the last of `blocks`."""
        return x

    @torch.no_grad()
    def rehearse(self, x: Tensor) -> None:
        """Record everything that an image like x ``(1, C, H, W)`` may meet, so that no later call has to."""
        gates = [module for module in self.modules() if isinstance(module, Gate)]
        before = [gate.threshold.clone() for gate in gates]
        for gate in gates:
            gate.threshold.fill_(-torch.inf)
        try:
            self(x)
        finally:
            for gate, threshold in zip(gates, before, strict=True):
                gate.threshold.copy_(threshold)

    def _apply(self, fn, recurse=True):
        self.recordings.forget()  # the weights go elsewhere
        return super()._apply(fn, recurse)
