"""The weights of a static network, tied: one set for all the blocks that a recursive network loops over."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor, nn

from drnn.core import LVBN2d, RecursiveBlock
from drnn.models import Classifier
from drnn.models.blocks import hidden_channels_of
from drnn.models.refusals import refuse_other_models
from drnn.weights.files import check_fit
from drnn.weights.matching import matched
from drnn.weights.settings import has_settings, refuse_other_settings

OF_ONE_LOOP = re.compile(r"(?P<norm>.+)\.loops\.(?P<loop>\d+)\.(?P<entry>\w+)")
SKIPPED, RUNNING = "skipped_", "running_"  # no image leaves a static network, so it has but one kind of statistics


def load_static(model: Classifier, static: Classifier) -> Classifier:
    """Let a recursive network begin from a static one of the same stages; returns ``model``.

    Each loop stands for one block of the static network, in order. It gets the norms of that block; the weights that
    the loops of a recursive block share are the mean of their blocks', whose hidden channels are matched before. Where
    a stage has more or fewer blocks than the recursive one has loops, the loops are spread over them. Gates stay as
    they are. What images went through, and the names of classes, come along where the static network tells them.

    This is where training begins: statistics of the norms are those of the static network, which do not fit yet. A
    recipe's ``initial_weights`` does the same.

    Args:
        model: a network with recursive blocks.
        static: one without, such as `drnn.weights.load_foreign` fills with torchvision's or timm's weights.

    Raises:
        TypeError: not a `Classifier`.
        ValueError: no block of ``model`` loops, one of ``static`` does, or its layers are others; ``model`` is left as
            it was.

    Source: Bae et al., "Relaxed recursive transformers", 2024, who tie the layers of a trained network and begin from
        their mean; the matching is that of `drnn.weights.matching`. The norms that stay apart are LVBN's.

    Example:
        >>> import drnn
        >>> static = drnn.create_model("resnet20_cifar")
        >>> model = load_static(drnn.create_model("dr_resnet16_cifar"), static)
        >>> norms = model.layer2[1].body.bn2.loops
        >>> bool(torch.equal(norms[1].weight, static.layer2[2].bn2.weight))
        True
    """
    for network in (model, static):
        refuse_other_models(network, "load_static")
    weights = static.state_dict()
    if not is_static_for(model, weights):
        raise ValueError(
            f"{model.name} and {static.name} received; give a network with recursive blocks, and a static one"
        )
    gates = names_of(model, "gate")
    own = {name: value for name, value in model.state_dict().items() if name.startswith(gates)}
    state = own | tied(model, weights)
    check_fit(model, state, static.name)
    refuse_other_settings(model, static, layers_of_both(model, static), "the static network")
    model.load_state_dict(state)
    model.preprocessing = static.preprocessing or model.preprocessing
    model.classes = static.classes or model.classes
    return model


def names_of(model: nn.Module, part: str) -> tuple[str, ...]:
    """How names of weights begin that belong to this part, "body" or "gate", of a recursive block."""
    return tuple(f"{name}.{part}." for name, block in model.named_modules() if isinstance(block, RecursiveBlock))


def is_static_for(model: nn.Module, names: Iterable[str]) -> bool:
    """Whether ``model`` has recursive blocks, and ``names`` of weights are of a network with none in their place."""
    bodies = names_of(model, "body")
    return bool(bodies) and not any(name.startswith(bodies) for name in names)


def tied(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of ``model`` that the weights of a static network make, but for its gates; see `load_static`.

    Weights that have no place in it keep their names, and entries that nothing makes are missing: what
    `drnn.weights.files.check_fit` then says is what differs.
    """
    state = dict(weights)
    for stage in _stages(model, weights):
        blocks = {}
        for number in range(stage.count):
            mine = [name for name in weights if name.startswith(f"{stage.name}.{number}.")]
            blocks[number] = {name.removeprefix(f"{stage.name}.{number}."): state.pop(name) for name in mine}
        for index, (block, numbers) in enumerate(stage.dealt()):
            made = _tied_block(block, [blocks[number] for number in numbers if number in blocks])
            state |= {f"{stage.name}.{index}.{name}": value for name, value in made.items()}
    return state


class _Stage(NamedTuple):
    """A row of blocks of which some loop, its name, and of how many blocks the static one is."""

    name: str
    blocks: list[nn.Module]
    count: int

    def dealt(self) -> Iterator[tuple[nn.Module, list[int]]]:
        """Each block with the numbers of the static blocks that it stands for, one a loop.

        Those before the first that loops stand for themselves; the others are spread.
        """
        first = sum(1 for _ in takewhile(lambda block: not isinstance(block, RecursiveBlock), self.blocks))
        loops = [block.num_loops if isinstance(block, RecursiveBlock) else 1 for block in self.blocks]
        slots, others, slot = sum(loops[first:]), max(self.count - first, 0), 0
        for index, (block, number) in enumerate(zip(self.blocks, loops, strict=True)):
            if index < first:
                yield block, [index]
            else:
                yield block, [first + (2 * (slot + loop) + 1) * others // (2 * slots) for loop in range(number)]
                slot += number


def _stages(model: nn.Module, names: Iterable[str]) -> list[_Stage]:
    found, names = [], list(names)
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential) and any(isinstance(block, RecursiveBlock) for block in module):
            inside = [entry.removeprefix(f"{name}.").split(".")[0] for entry in names if entry.startswith(f"{name}.")]
            found.append(_Stage(name, list(module), len({number for number in inside if number.isdecimal()})))
    return found


def _tied_block(block: nn.Module, static: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The state of a block, without its gate, of those of the static blocks that it stands for."""
    if not isinstance(block, RecursiveBlock):
        return dict(static[0]) if static else {}
    shapes = {frozenset((name, value.shape) for name, value in other.items()) for other in static}
    if len(static) < block.num_loops or len(shapes) > 1:
        return {}
    static = matched(static, hidden_channels_of(block.body))
    made, used = {}, set()
    for name in block.body.state_dict():
        own = OF_ONE_LOOP.fullmatch(name)
        if own and isinstance(block.body.get_submodule(own["norm"]), LVBN2d):
            entry = f"{own['norm']}.{own['entry'].replace(SKIPPED, RUNNING)}"
            chosen = static[int(own["loop"])].get(entry)
        else:
            entry = name
            chosen = _mean([other[entry] for other in static]) if entry in static[0] else None
        if chosen is not None:
            made[f"body.{name}"] = chosen
            used.add(entry)
    return made | {f"body.{name}": value for name, value in static[0].items() if name not in used}


def _mean(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]  # or batches, counted


def layers_of_both(model: nn.Module, static: nn.Module) -> Iterator[tuple[str, str]]:
    """Convolutions and norms of a recursive network, each with those of a static one that it stands for."""
    known, stages = dict(static.named_modules()), _stages(model, static.state_dict())
    inside = tuple(f"{stage.name}." for stage in stages)
    pairs = [(name, name) for name in known if not f"{name}.".startswith(inside)]
    for stage in stages:
        for index, (block, numbers) in enumerate(stage.dealt()):
            body = "body." if isinstance(block, RecursiveBlock) else ""
            for number in numbers:
                theirs = f"{stage.name}.{number}."
                ours = f"{stage.name}.{index}.{body}"
                pairs += [(name.replace(theirs, ours, 1), name) for name in known if name.startswith(theirs)]
    return ((own, other) for own, other in pairs if has_settings(known[other]))
