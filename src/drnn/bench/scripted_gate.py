"""A gate that does its own work and then answers by a script."""

from typing import Any

import torch
from torch import Tensor, nn

from drnn.bench.scripts import LoopScript
from drnn.core import Gate, GateDecision, RecursiveBlock
from drnn.core.rows import ranks
from drnn.models import Classifier


class ScriptedGate(nn.Module):
    """Asks the real gate, whose time and multiply-adds count, and answers with the script's margins instead.

    It relies on images taking the places that `drnn.core.rows.ranks` gives them; `Scripted.check` checks the outcome.
    """

    def __init__(self, gate: Gate):
        super().__init__()
        self.gate, self.calls = gate, 0
        self.margins: list[Tensor] = []

    def forward(self, x: Tensor) -> GateDecision:
        """``(M, C, H, W)`` of the images still there to ``(M,)``."""
        answer, margin = self.gate(x), self.margins[self.calls]
        self.calls += 1
        return GateDecision(answer.margin, margin)


class Scripted:
    """A network whose gates follow a script, batch by batch.

    Args:
        model: a recursive network in evaluation mode; its gates are replaced in place.
        script: of P images and this network's blocks.
        batch_size: images at a time; batch i is images ``i * batch_size`` onwards of the script.
        device: where the model is.
    """

    def __init__(self, model: Classifier, script: LoopScript, batch_size: int, device: str = "cpu"):
        self.model = model
        self.blocks: list[Any] = [block for block in model.modules() if isinstance(getattr(block, "gate", None), Gate)]
        slots = tuple(block.num_loops for block in self.blocks)
        batches = script.split(batch_size)
        self.records = [batch.record(slots) for batch in batches]
        self.plans = [
            [
                margins_of(loops, device, asked_always(block))
                for loops, block in zip(batch.loops.unbind(1), self.blocks, strict=True)
            ]
            for batch in batches
        ]
        for block in self.blocks:
            block.gate = ScriptedGate(block.gate)
        self.gates: list[ScriptedGate] = [block.gate for block in self.blocks]

    def prepare(self, batch: int) -> None:
        """Hand every gate its answers for one batch."""
        for gate, margins in zip(self.gates, self.plans[batch % len(self.plans)], strict=True):
            gate.margins, gate.calls = margins, 0

    @torch.inference_mode()
    def check(self, x: Tensor, batch: int = 0) -> None:
        """Run one batch ``(N, C, H, W)`` and compare what was executed with the script.

        Raises:
            RuntimeError: the loop form did not do what the script says.
        """
        self.prepare(batch)
        executed = self.model.forward_with_gates(x)[1].executed.cpu()
        if not torch.equal(executed, self.records[batch].executed):
            raise RuntimeError("the network executed other loops than its script says; its times would mean nothing")


def asked_always(block: Any) -> int | None:
    """How often a block that masks asks its gate about every image; None where it asks about those still there."""
    return block.num_loops if isinstance(block, RecursiveBlock) and block.dense else None


def margins_of(loops: Tensor, device: str = "cpu", always: int | None = None) -> list[Tensor]:
    """The answers of one gate to images that loop ``loops (N,)`` times: for each loop, of the images there.

    Where it is asked ``always`` times, all of them are there every time.
    """
    answers, loops = [], loops.to(device)
    if always is not None:
        return [(loops - loop).float() - 0.5 for loop in range(always)]
    for loop in range(int(loops.max()) + 1):
        answers.append((loops - loop).float() - 0.5)
        stays = loops > loop
        loops = loops[ranks(stays, int(stays.sum()))[0]]
    return answers
