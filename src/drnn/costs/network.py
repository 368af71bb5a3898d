"""What a network costs, found by running a copy of it without data."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from drnn.core import Gate, GateRecord, RecursiveBlock
from drnn.core.modes import drop_hooks, makes_a_weight
from drnn.core.norms import is_frozen
from drnn.costs.layers import KNOWN, layer_macs, registered_macs
from drnn.models.aig import AdaptiveBlock
from drnn.models.classifier import GATED, set_dense
from drnn.models.mobilenetv2 import MobileNetV2
from drnn.models.refusals import checked_size, refuse_quantised

Counting = Literal["plain", "paper"]


@dataclass(frozen=True)
class Costs:
    """What one image costs, in multiply-adds.

    Attributes:
        fixed_macs: spent on every image.
        loop_macs: T values, spent by an image that executes that loop slot.
        gate_macs: T values, spent by an image that arrives at that loop slot.
        slots: number of loops of each block that has slots, in order; they sum to T.
    """

    fixed_macs: int
    loop_macs: tuple[int, ...]
    gate_macs: tuple[int, ...]
    slots: tuple[int, ...]

    @property
    def max_macs(self) -> int:
        """Every loop executed."""
        return self.fixed_macs + sum(self.loop_macs) + sum(self.gate_macs)

    def expected_macs(self, rate: float) -> float:
        """Every gate executes the share ``rate`` of the images that arrive; to leave a block's loop is final."""
        total, slot = float(self.fixed_macs), 0
        for num_loops in self.slots:
            for loop in range(num_loops):
                total += rate**loop * self.gate_macs[slot] + rate ** (loop + 1) * self.loop_macs[slot]
                slot += 1
        return total

    def expected_loops(self, rate: float) -> float:
        """Mean loops per image under the same assumption: the sum of rate^i over each block's loops."""
        return float(sum(rate ** (loop + 1) for num_loops in self.slots for loop in range(num_loops)))

    def macs_per_image(self, record: GateRecord) -> Tensor:
        """Multiply-adds of each image of a batch that was run in evaluation mode, int64 ``(N,)``.

        Raises:
            ValueError: the record is of a network with another number of loop slots.
        """
        if record.executed.shape[1] != len(self.loop_macs):
            raise ValueError(
                f"a record of {record.executed.shape[1]} loop slots received for costs of {len(self.loop_macs)}; "
                "use the record and the costs of the same network"
            )
        device = record.executed.device
        loops = record.executed * torch.tensor(self.loop_macs, dtype=torch.long, device=device)
        gates = record.arrived * torch.tensor(self.gate_macs, dtype=torch.long, device=device)
        return self.fixed_macs + (loops + gates).sum(1)  # a GPU has no product of matrices of whole numbers


def count_params(model: nn.Module) -> int:
    """Trainable numbers; buffers such as running statistics are not among them.

    Raises:
        ValueError: a network whose weights are no parameters any more, as an optimised one's, or a layer with buffers
            that is neither known here nor registered.
    """
    _refuse_unknown(model, lambda layer: layer._buffers)
    return sum(parameter.numel() for parameter in model.parameters())


def _refuse_unknown(model: nn.Module, held: Callable[[nn.Module], dict]) -> None:
    for name, layer in model.named_modules():
        own = held(layer).keys() - ({"threshold"} if isinstance(layer, Gate) else set())
        if makes_a_weight(name):
            continue
        if own and not isinstance(layer, KNOWN) and not is_frozen(layer) and registered_macs(layer) is None:
            kind = type(layer).__name__
            raise ValueError(
                f"{name or 'the network'} ({kind}) holds {', '.join(sorted(own))}, and drnn.costs does not know this "
                "layer; of an optimised network, count the network it was made of; of a layer of your own, say what it "
                f"costs: drnn.costs.register({kind}, macs)"
            )


def count_costs(
    model: nn.Module, input_size: tuple[int, int, int] | None = None, counting: Counting = "plain"
) -> Costs:
    """Count by running a copy of ``model``, without data, on one image.

    Args:
        model: any network of `drnn.models`, or one built from its blocks; of an optimised network, the one that it
            was made of.
        input_size: ``(C, H, W)`` of the images; ``model.input_size`` by default, whatever size a record's images had.
        counting: "plain" or "paper"; see the head of `drnn.costs`.

    Raises:
        ValueError: another counting or size, layers that are quantised, or neither known here nor registered.
    """
    size = checked_size(input_size or getattr(model, "input_size", None), type(model).__name__)
    refuse_quantised(model, "count the network that it was made of, which has the same multiply-adds")
    _refuse_unknown(model, lambda layer: layer._parameters | layer._buffers)
    if counting not in ("plain", "paper"):
        raise ValueError(f"counting {counting!r} received; choose 'plain' or 'paper'")
    twin = set_dense(drop_hooks(deepcopy(model)).to("meta", torch.float32)).eval()
    paper = counting == "paper"
    tally = _Tally(twin, count_norms=paper and not isinstance(model, MobileNetV2))
    with torch.no_grad():
        twin(torch.empty(1, *size, dtype=torch.float32, device="meta"))
    gates = [0] * len(tally.gates) if paper else tally.gates
    return Costs(tally.fixed, tuple(tally.loops), tuple(gates), tuple(tally.slots))


class _Tally:
    """Hooks on every layer of a network, adding up what each costs and to which loop slot it belongs."""

    def __init__(self, model: nn.Module, count_norms: bool):
        self.fixed, self.loops, self.gates, self.slots = 0, [], [], []
        owned: set[nn.Module] = set()
        for name, block in model.named_modules():
            if isinstance(block, GATED):
                if block in owned:
                    raise ValueError(
                        f"{name} received, which loops inside a block that loops; it has no cost of its own"
                    )
                owned |= self._claim(name, block, count_norms)
        for layer in set(model.modules()) - owned:
            layer.register_forward_hook(partial(self._add, None, count_norms))

    def _claim(self, name: str, block: RecursiveBlock | AdaptiveBlock, count_norms: bool) -> set[nn.Module]:
        """Give the block its slots; what stays outside them (a gated block's projection) is not claimed."""
        first = len(self.loops)
        self.slots.append(block.num_loops)
        self.loops += [0] * block.num_loops
        self.gates += [0] * block.num_loops
        now = {"loops": first, "gates": first - 1}  # the slot that is running: a gate opens it, then the body runs

        def open_slot(*_) -> None:
            if now["gates"] + 1 == first + block.num_loops:
                raise ValueError(f"{name} received, which is called twice; give each call a block of its own to count")
            now.update(gates=now["gates"] + 1, loops=now["gates"] + 1)

        block.gate.register_forward_pre_hook(open_slot)
        body = set(block.body.modules())
        if isinstance(block, AdaptiveBlock) and block.body.downsample is not None:
            body -= set(block.body.downsample.modules())
        for part, layers in (("loops", body), ("gates", set(block.gate.modules()))):
            for layer in layers:
                layer.register_forward_hook(partial(self._add, (part, now), count_norms))
        return body | set(block.gate.modules())

    def _add(
        self, slot: tuple[str, dict] | None, count_norms: bool, layer: nn.Module, inputs: tuple, out: Tensor
    ) -> None:
        own = registered_macs(layer)
        macs = layer_macs(layer, out, count_norms) if own is None else own(layer, inputs, out)
        if slot is None:
            self.fixed += macs
        else:
            part, now = slot
            getattr(self, part)[now[part]] += macs
