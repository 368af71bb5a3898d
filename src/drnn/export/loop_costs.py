"""What a loop of each block costs in a graph that takes images of any size: so much at every place of the map."""

from typing import NamedTuple

from drnn.costs.network import tallied
from drnn.models import Classifier

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
    tally, first, found = tallied(model, (channels, times * height + more, times * width + more)), 0, []
    for (block, places), slots in zip(tally.places.items(), tally.slots, strict=True):
        each = [{*costs[first : first + slots]} for costs in (tally.loops, tally.gates)]
        found.append(_Measured(block, places, *(of.pop() if len(of) == 1 else -1 for of in each)))
        first += slots
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
