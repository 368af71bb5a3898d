"""A classifier as one module that can be exported: images in; logits, loops and multiply-adds out."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from drnn.core import Gate, OpenGate, RecursiveBlock, gates_of
from drnn.costs import layer_macs, registered_macs
from drnn.export.blocks import BranchingBlock, CompactBlock, DenseBlock, GraphBlock, OpenBlock, SingleBlock
from drnn.export.loop_costs import loop_costs
from drnn.export.norms import NORM_PLACEMENTS, place_norms
from drnn.inference.folded_conv import FoldedConv2d
from drnn.models import Classifier, Preprocessing, set_dense
from drnn.models.aig import AdaptiveBlock
from drnn.models.refusals import refuse_hidden_blocks, refuse_quantised

FORMS: dict[str, type[GraphBlock]] = {
    "branches": BranchingBlock,
    "single": SingleBlock,
    "loop": CompactBlock,
    "dense": DenseBlock,
}


def looping_blocks(model: Classifier) -> list[RecursiveBlock]:
    """The B recursive blocks in order."""
    return [block for block in model.blocks() if isinstance(block, RecursiveBlock)]


def read_thresholds(model: Classifier) -> Tensor:
    """The gates' thresholds, in the margin's units, ``(B,)``; a block without a gate counts 0."""
    gates = [block.gate for block in looping_blocks(model)]
    return torch.tensor(
        [float(gate.threshold) if isinstance(gate, Gate) else 0.0 for gate in gates], dtype=torch.float32
    )


class ExportableNetwork(nn.Module):
    """A copy of a network in evaluation mode, its recursive blocks in a form that graphs can express.

    Args:
        model: the network; it is not changed.
        form: "branches" (a condition a loop, skips), "single" (the same for batches of one image), "loop" (one copy of
            each body, skips) or "dense" (masks).
        norms: "once" (shared convolution weights once) or "folded" (one per loop); the form "loop" knows only "once".

    Shape: images ``(N, C, H, W)``, thresholds ``(B,)`` -> logits ``(N, K)``, loops ``(N, B)``, macs ``(N,)``, all for
    B recursive blocks. Without thresholds those the network had count.

    Raises:
        ValueError: an unknown form or placement; a network whose evaluation is random (ConvNet-AIG), that is
            optimised, has layers that cost what `drnn.costs.register` was told, or is not in float32.
    """

    thresholds: Tensor

    def __init__(self, model: Classifier, form: str = "branches", norms: str = "once"):
        super().__init__()
        _check(model, form, norms)
        self.register_buffer("thresholds", read_thresholds(model))
        self.form, self.norms = form, norms
        self.classifier = deepcopy(model).cpu().eval()
        self.loop_costs, blocks = loop_costs(model), []
        for block in self.classifier.blocks():
            if isinstance(block, RecursiveBlock):
                made = OpenBlock if isinstance(block.gate, OpenGate) else FORMS[form]
                placement = "activations" if made is CompactBlock else norms
                body = place_norms(block.body, block.num_loops, placement)
                block = made(block.gate, body, block.num_loops)
            blocks.append(block)
        self.rows = nn.ModuleList(blocks)
        looping = {layer for row in self.rows if isinstance(row, GraphBlock) for layer in row.modules()}
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        self.fixed_macs: dict[nn.Module, int] = {layer: _pixel_macs(layer) for layer in layers if layer not in looping}

    @property
    def one_image(self) -> bool:
        """Whether a batch is always of one image."""
        return self.form == "single"

    @property
    def num_loops(self) -> list[int]:
        """L of each recursive block."""
        return [block.num_loops for block in self.rows if isinstance(block, GraphBlock)]

    def forward(self, images: Tensor, thresholds: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Classify, and say what it took."""
        thresholds = self.thresholds if thresholds is None else thresholds
        loops: list[Tensor] = []
        macs = torch.zeros_like(images[:, 0, 0, 0], dtype=torch.int64)
        with _tally(self.fixed_macs) as fixed:
            x = self.classifier.stem(images)
            for block in self.rows:
                if isinstance(block, GraphBlock):
                    cost = self.loop_costs[len(loops)]
                    x, count = block(x, thresholds[len(loops)])
                    loops.append(count)
                    asked = (count + 1).clamp(max=block.num_loops)
                    macs = macs + count * (cost.place * (x.shape[2] * x.shape[3]) + cost.beside) + asked * cost.gate
                else:
                    x = block(x)
            logits = self.classifier.head(x)
        taken = torch.stack(loops, 1) if loops else macs.new_zeros(macs.shape[0], 0)
        return logits, taken, macs + sum(math.prod(size) * each for size, each in fixed.values())


def _check(model: Classifier, form: str, norms: str) -> None:
    if form not in FORMS or norms not in NORM_PLACEMENTS:
        raise ValueError(f"form {form!r} and norms {norms!r} received; forms are {', '.join(FORMS)}, "
                         f"norms {', '.join(NORM_PLACEMENTS)}")  # fmt: skip
    if form == "loop" and norms == "folded":
        raise ValueError("form 'loop' has one copy of each body, so its norms cannot be folded; use norms 'once'")
    if any(isinstance(part, FoldedConv2d) for part in model.modules()):
        raise ValueError(f"an optimised {model.name} received; export the network it was made of")
    refuse_hidden_blocks(model, "export")
    refuse_quantised(model, "export the network that it was made of, and quantise the file")
    kinds = {str(value.dtype) for value in model.state_dict().values() if value.is_floating_point()}
    if kinds - {"torch.float32"}:
        raise ValueError(f"{model.name} holds {', '.join(sorted(kinds))}; files hold float32: call model.float() first")
    if own := _registered_that_cost(model):
        raise ValueError(f"{own[0]} is of a class that drnn.costs.register was told of, and files cannot count what it "
                         "costs; export a network without such layers")  # fmt: skip
    noisy = any(gate.random_in_evaluation for gate in gates_of(model).values())
    if noisy or any(isinstance(part, AdaptiveBlock) for part in model.modules()):
        raise ValueError(f"{model.name} decides with noise in evaluation too, so no file can be compared with it; "
                         "export a network without gate_noise='always'")  # fmt: skip


def _registered_that_cost(model: Classifier) -> list[str]:
    """Layers whose multiply-adds, by `drnn.costs.register`, are more than 0."""
    if not any(registered_macs(part) for part in model.modules()):
        return []
    twin, found = set_dense(deepcopy(model).to("meta")).eval(), []
    for name, part in twin.named_modules():
        if macs := registered_macs(part):
            part.register_forward_hook(lambda *seen, name=name, macs=macs: found.append(name) if macs(*seen) else None)
    twin(torch.empty(1, *model.input_size, device="meta"))
    return found


def check_preprocessing(model: Classifier, preprocessing: Preprocessing, any_size: bool) -> None:
    """It goes into the file with the network.

    Raises:
        ValueError: for images of other channels or, where the file takes one size only, of another size.
    """
    size, own = preprocessing.size, model.input_size
    if size[0] != own[0] or not (any_size or size == own):
        raise ValueError(f"preprocessing for images of {size} received; {model.name} takes {own}")


def _pixel_macs(layer: nn.Module) -> int:
    """Multiply-adds for one output position."""
    width = getattr(layer, "out_channels", getattr(layer, "out_features", 1))
    return layer_macs(layer, torch.empty(1, width, 1, 1, device="meta"), count_norms=False)


@contextmanager
def _tally(pixel_macs: Mapping[nn.Module, int]) -> Iterator[dict[str, tuple[torch.Size, int]]]:
    """While layers run, sum their multiply-adds for one output position, by the height and width of their output.

    Few sizes and many layers: where the size of the images is free, a graph computes with each size that is left.
    """
    counted: dict[str, tuple[torch.Size, int]] = {}

    def add(macs: int, _layer: nn.Module, _images: tuple[Tensor], out: Tensor) -> None:
        size, before = counted.get(str(out.shape[2:]), (out.shape[2:], 0))
        counted[str(size)] = size, before + macs

    handles = [layer.register_forward_hook(partial(add, macs)) for layer, macs in pixel_macs.items()]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()
