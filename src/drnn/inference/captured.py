"""Networks that run one image on a GPU as recorded pieces: what stands between decisions, gates, and loops."""

from typing import Any

import torch
from torch import Tensor, nn

from drnn.core import LoopGroups, OpenGate, RecursiveBlock, thresholds_at
from drnn.core.record import is_collecting
from drnn.inference.folded_blocks import refuse_folded_training
from drnn.inference.folded_gate import FoldedGate
from drnn.inference.recordings import Recordings, Work
from drnn.models import Classifier
from drnn.models.classifier import GATED
from drnn.models.refusals import refuse_hidden_blocks


class Stretch(nn.Module):
    """Calls without a decision between them, in a row, as one recording. It owns no module: the network does."""

    def __init__(self, parts: tuple[Work, ...], recordings: Recordings, name: str):
        super().__init__()
        self.parts, self.recordings, self.name = parts, recordings, name
        self.undecided = [part for part in parts if isinstance(part, RecursiveBlock)]

    def forward(self, x: Tensor) -> Tensor:
        """Run them; unrecorded where a block has been told to skip meanwhile, or is asked what its gate did."""
        refuse_folded_training(self)
        if not all(map(runs_every_loop, self.undecided)) or (self.undecided and is_collecting()):
            return self.in_turn(x)
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
        refuse_folded_training(self)
        return self.recordings.run((self.name, loop), lambda images: self.body(images, loop, groups), x)


class CapturedGate(FoldedGate):
    """A `FoldedGate` whose pooling and layers are one recording; its threshold may still move."""

    def __init__(self, gate: FoldedGate, recordings: Recordings, name: str):
        super().__init__(gate.decide, gate.threshold, gate.layers())
        self.recordings, self.name = recordings, name

    def margin(self, x: Tensor) -> Tensor:
        """Of each image ``(N,)``."""
        return self.recordings.run((self.name,), super().margin, x)


def runs_every_loop(block: nn.Module) -> bool:
    """Whether a recursive block loops whatever its gate says, or has none to ask, so that the host decides nothing."""
    if not isinstance(block, RecursiveBlock) or not (block.dense or isinstance(block.gate, OpenGate)):
        return False
    return not getattr(block.gate, "random_in_evaluation", False)


class CapturedNetwork(Classifier):
    """An optimised network that runs images which are alone in their batch, or left alone in it, as CUDA graphs.

    A static network becomes one graph; a recursive one a graph for what stands before, between and behind its recursive
    blocks, and in each of these one for the gate and one for every loop. For each the host copies the image in, starts
    the graph, and copies the result out; the device is waited for once a gate. Blocks that mask when this is made, or
    have no gate to ask, are no decisions: they are recorded with what stands around them. Gates that draw lots, and the
    blocks of ConvNet-AIG, are not recorded. Everything else, such as larger batches, other devices and autocast, which
    gates decline, runs as before.

    Gates have the optimised network's names, so budgets fit. A graph keeps the numeric settings, such as TF32, of the
    moment it was recorded at. Not for several threads or streams at once: they would share its buffers.

    Args:
        network: an optimised network. It is taken over: gates and bodies of its recursive blocks are wrapped.
        recordings: where recordings are kept.
    """

    @torch.inference_mode(False)  # thresholds move and weights are loaded outside it
    def __init__(self, network: Classifier, recordings: Recordings | None = None):
        super().__init__(network.spec)
        refuse_hidden_blocks(network, "capture")
        self.name, self.num_classes = network.name, network.num_classes
        self.input_size, self.target_rate = network.input_size, network.target_rate
        self.preprocessing, self.classes = network.preprocessing, network.classes
        self.recordings = recordings or Recordings()
        for name, child in network.named_children():
            self.add_module(name, child)
        rows: list[nn.Module] = []
        parts: list[Work] = [network.stem]
        for number, block in enumerate(network.blocks()):
            if not isinstance(block, GATED) or runs_every_loop(block):
                parts.append(block)
                continue
            if parts:
                rows.append(Stretch(tuple(parts), self.recordings, f"before {number}"))
            rows.append(block)
            parts = []
            if isinstance(block, RecursiveBlock):
                block.body = CapturedBody(block.body, self.recordings, f"body {number}")
                if isinstance(block.gate, FoldedGate):
                    block.gate = CapturedGate(block.gate, self.recordings, f"gate {number}")
        rows.append(Stretch((*parts, network.head), self.recordings, "last"))
        self.rows = tuple(rows)  # a tuple registers nothing: the children do
        self.eval()

    def stem(self, x: Tensor) -> Tensor:
        """Nothing: what stands before the first decision is the first of `parts`."""
        return x

    def parts(self) -> tuple[nn.Module, ...]:
        """Recursive blocks, and before, between and behind them what has no decision."""
        return self.rows

    def head(self, x: Tensor) -> Tensor:
        """Nothing: it is part of the last of `parts`."""
        return x

    @torch.no_grad()
    def rehearse(self, x: Tensor) -> None:
        """Record everything that an image like x ``(1, C, H, W)`` may meet, so that no later call has to."""
        with thresholds_at(self, -torch.inf):
            self(x)

    def train(self, mode: bool = True) -> "CapturedNetwork":
        """What stands between blocks is told, too."""
        for row in self.rows:
            row.train(mode)
        return super().train(mode)

    def load_state_dict(self, *arguments, **options) -> Any:
        """Recordings are dropped: the weights they read may be replaced."""
        self.recordings.forget()
        return super().load_state_dict(*arguments, **options)

    def _apply(self, fn, recurse=True):
        self.recordings.forget()
        return super()._apply(fn, recurse)
