"""What a network costs, found by running a copy of it without data."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from drnn.core import Gate, GateRecord
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
    if counting not in ("plain", "paper"):
        raise ValueError(f"counting {counting!r} received; choose 'plain' or 'paper'")
    paper = counting == "paper"
    tally = tallied(model, size, count_norms=paper and not isinstance(model, MobileNetV2))
    gates = [0] * len(tally.gates) if paper else tally.gates
    return Costs(tally.fixed, tuple(tally.loops), tuple(gates), tuple(tally.slots))


def tallied(model: nn.Module, size: Sequence[int], count_norms: bool = False) -> "Tally":
    """What a copy of ``model`` costs that is run, without data, on one image of ``size`` ``(C, H, W)``.

    Raises:
        ValueError: as `count_costs`.
    """
    refuse_quantised(model, "count the network that it was made of, which has the same multiply-adds")
    _refuse_unknown(model, lambda layer: layer._parameters | layer._buffers)
    twin = set_dense(drop_hooks(deepcopy(model)).to("meta", torch.float32)).eval()
    tally = Tally(twin, count_norms)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        twin(torch.empty(1, *size, dtype=torch.float32, device="meta"))
    return tally


class Tally:
    """Hooks on every layer of a network, adding up what each costs and to which loop slot it belongs.

    Slots are in the order in which blocks are called, as records of gates are. ``places`` are the height times width of
    what each block got, by its name.
    """

    def __init__(self, model: nn.Module, count_norms: bool):
        self.fixed, self.loops, self.gates, self.slots = 0, [], [], []
        self.places: dict[str, int] = {}
        self.count_norms, self.part, self.inside = count_norms, "fixed", ""
        blocks = {name: block for name, block in model.named_modules() if isinstance(block, GATED)}
        self.outside: set[nn.Module] = set()  # layers of a gated block that run for every image: its projection
        for block in blocks.values():
            if isinstance(block, AdaptiveBlock) and block.body.downsample is not None:
                self.outside |= set(block.body.downsample.modules())
        for layer in model.modules():
            layer.register_forward_hook(self._add)
        for gate in {block.gate for block in blocks.values()}:
            gate.register_forward_pre_hook(self._open_slot)
            gate.register_forward_hook(lambda *_: setattr(self, "part", "loops"))  # the body is next
        for name, block in blocks.items():
            block.register_forward_pre_hook(partial(self._enter, name))
            block.register_forward_hook(self._leave)

    def _enter(self, name: str, block: nn.Module, given: tuple[Tensor]) -> None:
        if self.inside:
            raise ValueError(f"{name} received, which loops inside {self.inside}, which loops; that is not counted")
        if name in self.places:
            raise ValueError(f"{name} received, which is called twice; give each call a block of its own to count")
        self.places[name] = given[0].shape[2:].numel()
        self.inside = name
        self.slots.append(block.num_loops)

    def _leave(self, *_: object) -> None:
        self.inside, self.part = "", "fixed"

    def _open_slot(self, *_: object) -> None:
        self.part = "gates"
        self.gates.append(0)
        self.loops.append(0)

    def _add(self, layer: nn.Module, inputs: tuple, out: Tensor) -> None:
        own = registered_macs(layer)
        macs = layer_macs(layer, out, self.count_norms) if own is None else own(layer, inputs, out)
        if self.part == "fixed" or layer in self.outside:
            self.fixed += macs
        else:
            getattr(self, self.part)[-1] += macs
