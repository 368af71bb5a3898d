"""What a loop of each block costs in a graph that takes images of any size: so much at every place of the map."""

from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from drnn.core import RecursiveBlock
from drnn.core.modes import drop_hooks
from drnn.costs import count_costs
from drnn.models import Classifier, set_dense

# Height and width as times the network's own, and pixels more: two tell a line, a third, of odd maps, if it is one.
SIZES = ((1, 0), (2, 0), (2, 1))


class LoopCost(NamedTuple):
    """Multiply-adds of one loop: at every place of the map, beside that, and of the gate that is asked before."""

    place: int
    beside: int
    gate: int


def loop_costs(model: Classifier) -> list[LoopCost]:
    """Of the recursive blocks in order; of a network that takes one size alone, all of it counts as beside.

    Raises:
        ValueError: a block whose loops differ, or cost anything else, such as by layers of stride 2; the message names
            it.
    """
    sizes = [_measured(model, *SIZES[0])]
    try:
        sizes += [_measured(model, *size) for size in SIZES[1:]]
    except RuntimeError:  # from torch's layers, where the head takes one size
        return [LoopCost(0, macs, gate) for _, _, macs, gate in sizes[0]]
    return [_line(*same) for same in zip(*sizes, strict=True)]


class _Measured(NamedTuple):
    """A block's name, places of its map, and multiply-adds of a loop and of the gate; -1 where loops differ."""

    block: str
    places: int
    loop: int
    gate: int


def _measured(model: Classifier, times: int, more: int) -> list[_Measured]:
    channels, height, width = model.input_size
    size = (channels, times * height + more, times * width + more)
    costs, places = count_costs(model, size), _places(model, size)
    loops, gates, found = list(costs.loop_macs), list(costs.gate_macs), []
    for (block, number), slots in zip(places.items(), costs.slots, strict=True):
        each = {*loops[:slots]}, {*gates[:slots]}
        del loops[:slots], gates[:slots]
        found.append(_Measured(block, number, *(of.pop() if len(of) == 1 else -1 for of in each)))
    return found


def _places(model: Classifier, size: tuple[int, int, int]) -> dict[str, int]:
    """Height times width of what each recursive block gets, in the order in which they are called."""
    twin, found = deepcopy(model).to("meta").eval(), {}
    set_dense(drop_hooks(twin))

    def look(name: str, _block: nn.Module, given: tuple) -> None:
        found[name] = given[0].shape[2] * given[0].shape[3]

    for name, block in twin.named_modules():
        if isinstance(block, RecursiveBlock):
            block.register_forward_pre_hook(partial(look, name))
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        twin(torch.empty(1, *size, dtype=torch.float32, device="meta"))
    return found


def _line(first: _Measured, second: _Measured, third: _Measured) -> LoopCost:
    place, rest = divmod(second.loop - first.loop, max(second.places - first.places, 1))
    beside = first.loop - place * first.places
    alike = first.gate == second.gate == third.gate and min(first.loop, first.gate) >= 0
    if rest or third.loop != place * third.places + beside or not alike:
        raise ValueError(
            f"{first.block} costs {first.loop}, {second.loop} and {third.loop} multiply-adds a loop on maps of "
            f"{first.places}, {second.places} and {third.places} places, and its gate {first.gate}, {second.gate} and "
            f"{third.gate}; files count loops that are all alike, with layers at every place or at one, and gates that "
            "read a mean of the map"
        )
    return LoopCost(place, beside, first.gate)
