"""The three networks that are compared, and where in each of them loop t of block b runs."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from drnn.core import RecursiveBlock
from drnn.models import Classifier, create_model
from drnn.models.registry import Staged, has_loops, spec_for

VARIANTS = ("naive", "lvbn", "unrolled")
# Fields of a recipe as they are for the variants, which have no gates and begin as they are.
PLAIN = {"every_loop_weight": 0.0, "zero_init_loops": False, "initial_weights": None}
SET = ("norm", "gate", "target_rate")  # fields of a network that are the variants' own


@dataclass(frozen=True, eq=False)
class Site:
    """One loop of one recursive block: ``module`` is the body that runs it, shared with the block's other loops or not.

    ``block`` counts the recursive blocks of the network and ``loop`` the loops of that block, both from 0.
    """

    block: int
    loop: int
    module: nn.Module


def require_loops(name: str, overrides: dict | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and loops of each stage of a network.

    Raises:
        ValueError: none of its blocks loops, or a value that does not fit.
    """
    spec = spec_for(name, **(overrides or {}))
    if not isinstance(spec, Staged) or not has_loops(spec):
        raise ValueError(f"{name} has no block that loops, in stages; drnn models 'dr_*' lists the networks that have")
    return spec.blocks, spec.loops


def build_variant(name: str, variant: str, **overrides: Any) -> tuple[Classifier, list[Site]]:
    """A network of the registry without gates, in one of three forms, and its loops in the order in which they run.

    Args:
        name: a network with recursive blocks, such as ``dr_resnet74_cifar``; its weights come from torch's generator.
        variant: "naive" (one batch norm for all loops), "lvbn" (one a loop), or "unrolled" (every loop a block of its
            own, with its own weights and norms: the depth without the sharing).
        overrides: as in `drnn.create_model`, but for `SET`.

    Raises:
        ValueError: another variant, a network without recursive blocks, or a field that the variants set.

    Example:
        >>> [len(build_variant("dr_resnet16_cifar", variant, width=4)[1]) for variant in VARIANTS]
        [4, 4, 4]
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} received; choose one of {', '.join(VARIANTS)}")
    if given := [field for field in SET if field in overrides]:
        raise ValueError(
            f"overrides of {', '.join(given)} received, which the variants set: none has gates, and their norms are "
            "what is compared; leave them out"
        )
    blocks, loops = require_loops(name, overrides)
    overrides |= {"gate": None, "target_rate": None}
    if variant == "unrolled":
        depth = tuple(1 + (count - 1) * times for count, times in zip(blocks, loops, strict=True))
        model = create_model(name, **{**overrides, "blocks": depth, "loops": (1,) * len(depth)})
        return model, _unrolled_sites(model, blocks, loops)
    model = create_model(name, norm="shared" if variant == "naive" else "lvbn", **overrides)
    recursive = [block for block in model.blocks() if isinstance(block, RecursiveBlock)]
    return model, [Site(b, loop, block.body) for b, block in enumerate(recursive) for loop in range(block.num_loops)]


def _unrolled_sites(model: Classifier, blocks: tuple[int, ...], loops: tuple[int, ...]) -> list[Site]:
    """The blocks of an unrolled network that stand for loops of the recursive one with these blocks and loops."""
    sites, bodies, number = [], iter(model.blocks()), 0
    for count, times in zip(blocks, loops, strict=True):
        next(bodies)  # the block that changes the shape always runs once
        for _ in range(count - 1):
            here = [Site(number, loop, next(bodies)) for loop in range(times)]
            if times > 1:
                sites += here
                number += 1
    return sites
