"""Gates turned together: one number in 0..1 sets every threshold, and the mean multiply-adds follow."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from drnn.budgets.budget import refuse_static
from drnn.core import GateDecision, GateRecord, collected, gates_of, set_thresholds, thresholds_at
from drnn.data.transfer import to_device
from drnn.training.evaluation import same_noise

Scope = Literal["global", "per_gate"]
MOST_MARGINS = 10_000  # of a gate; quantiles of more are no surer
Prepare = Callable[[Tensor], Tensor]


class Dial:
    """All thresholds of a network as a function of a position from 0 (closed) to 1 (open).

    "global" gives every gate the same threshold: the quantile ``1 - position`` of all margins by which the trained
    gates decide about these images, noise included where they draw lots. "per_gate" takes each gate's own quantile, so
    that all close at the same pace.

    Args:
        model: a network with gates, in evaluation mode.
        images: ``(N, C, H, W)``, none of them of the test; they come to the model's device batch by batch.
        prepare: from these to what the network takes.
        scope: "global" or "per_gate".
        batch_size: images at a time.

    Raises:
        ValueError: no gates, no images, or another scope.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, prepare: Prepare, scope: Scope = "global", batch_size: int = 250
    ):
        if scope not in ("global", "per_gate"):
            raise ValueError(f"scope {scope!r} received; choose 'global' or 'per_gate'")
        refuse_static(model)
        if len(images) == 0:
            raise ValueError("no images received; gates are turned on 1 or more")
        self.model, self.prepare, self.scope = model, prepare, scope
        self.batches = images.split(batch_size)
        self.margins = self._margins()

    def thresholds(self, position: float) -> dict[str, float]:
        """Of every gate at one position."""
        if position <= 0 or position >= 1:
            return dict.fromkeys(self.margins, math.inf if position <= 0 else -math.inf)
        if self.scope == "global":
            everything = torch.cat(list(self.margins.values()))
            return dict.fromkeys(self.margins, float(everything.quantile(1 - position)))
        return {name: float(margins.quantile(1 - position)) for name, margins in self.margins.items()}

    def with_one_at(self, gate: str, position: float, others: dict[str, float]) -> dict[str, float]:
        """``others``, but with one gate at a position of its own, its quantile taken from its own margins."""
        own = -math.inf if position >= 1 else float(self.margins[gate].quantile(1 - position))
        return {**others, gate: own}

    def turn(self, thresholds: dict[str, float]) -> GateRecord:
        """Set the network's thresholds and run all images; what the gates did, ``(N, T)``."""
        set_thresholds(self.model, thresholds)
        return self._run()

    @torch.inference_mode()
    def _run(self) -> GateRecord:
        device = next(self.model.parameters()).device
        batches = (self.prepare(to_device(batch, device)) for batch in self.batches)
        with same_noise(device):
            records = [self._record(batch) for batch in batches]
        return GateRecord(*(torch.cat(columns) for columns in zip(*records, strict=True)))

    def _record(self, batch: Tensor) -> GateRecord:
        with collected() as records:
            self.model(batch)
        return GateRecord.join(records, like=batch)

    def _margins(self) -> dict[str, Tensor]:
        """Every margin each gate gives when no image leaves: float64, sorted, of every k-th where they are many.

        One k for all gates, so that together they are still all margins' quantiles.
        """
        seen: dict[str, list[Tensor]] = {name: [] for name in gates_of(self.model)}
        hooks = [gate.register_forward_hook(partial(_keep, seen[name])) for name, gate in gates_of(self.model).items()]
        try:
            with thresholds_at(self.model, 0.0):  # margins as thresholds are held against them
                self._run()
        finally:
            for hook in hooks:
                hook.remove()
        if silent := [name for name, parts in seen.items() if not parts]:
            raise ValueError(f"{silent[0]} was never asked; a gate that no image reaches cannot be turned: take it out")
        together = {name: torch.cat(parts).sort().values for name, parts in seen.items()}
        step = 1 + max(map(len, together.values())) // MOST_MARGINS
        return {name: values[::step] for name, values in together.items()}


def _keep(margins: list[Tensor], gate: object, arguments: tuple, answer: GateDecision) -> GateDecision:
    """Keep the margins that decide, with whatever the way of deciding adds to them, and let every image go on."""
    margin = answer.deciding_margin
    margins.append((margin.cpu() if margin.device.type == "mps" else margin).double())  # mps has no float64
    return GateDecision(answer.margin, torch.full_like(margin, math.inf))
