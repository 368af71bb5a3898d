"""Small blocks in double precision."""

import torch

from drnn.core import Deterministic, Gate, HiddenScorer, ILVBN2d, LVBN2d, OpenGate, RecursiveBlock, SharedBatchNorm2d
from drnn.models.blocks import BasicBlock

NORMS = {"shared": lambda c, loops: SharedBatchNorm2d(c), "lvbn": LVBN2d, "ilvbn": ILVBN2d}


def make_block(channels=4, loops=3, norm="ilvbn", gated=True, seed=0, opening=None):
    """A random block in float64; ``opening`` None scatters the gate's answers, a number opens (+) or closes (-) it."""
    torch.manual_seed(seed)
    body = BasicBlock(channels, channels, norm=lambda width: NORMS[norm](width, loops))
    gate = Gate(HiddenScorer(channels), Deterministic()) if gated else OpenGate()
    block = RecursiveBlock(body, gate, loops).double()
    with torch.no_grad():
        for name, parameter in block.body.named_parameters():
            if "bn" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        for name, buffer in block.named_buffers():
            if name.endswith("var"):
                buffer.uniform_(0.5, 2)
            elif name.endswith("mean"):
                buffer.normal_()
        if gated and opening is None:
            block.gate.scorer.fc1.weight.normal_(std=3)
            block.gate.scorer.fc2.weight.normal_(std=3)
            block.gate.scorer.fc2.bias.zero_()
        elif gated:
            block.gate.scorer.fc2.weight.zero_()
            block.gate.scorer.fc2.bias.copy_(torch.tensor([0.0, float(opening)]))
    return block


def images(count, channels=4, size=3, seed=1):
    """A batch whose images differ a lot, so that gates disagree about them."""
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(count, channels, 1, 1, generator=generator, dtype=torch.float64) * 2
    return torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64) + shift
