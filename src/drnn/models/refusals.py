"""Networks that cannot be used as they are, refused with what to do."""

from collections.abc import Sequence
from numbers import Integral

from torch import nn

from drnn.models.classifier import GATED, Classifier


def refuse_other_models(model: object, user: str) -> None:
    """Only networks of this library say what their blocks are.

    Args:
        model: what was received.
        user: what needs that, for the message.

    Raises:
        TypeError: not a `Classifier`.
    """
    if isinstance(model, Classifier):
        return
    inner = [name for name in ("module", "_orig_mod") if isinstance(getattr(model, name, None), Classifier)]
    way = (
        f"give the one inside: model.{inner[0]}" if inner else "as drnn.create_model and drnn.from_pretrained give them"
    )
    raise TypeError(
        f"{type(model).__module__}.{type(model).__qualname__} received; {user} takes networks of drnn.models, {way}"
    )


def refuse_training(model: nn.Module, why: str) -> None:
    """In training mode norms take the statistics of a batch.

    Args:
        model: what was received.
        why: that must not be.

    Raises:
        ValueError: a part of it is in training mode.
    """
    if any(module.training for module in model.modules()):
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(f"{name} is in training mode, at least in part; call model.eval() first: {why}")


def checked_size(size: object, owner: str) -> tuple[int, ...]:
    """A size of images, which is three whole numbers.

    Args:
        size: what was received.
        owner: of the images, for the message.

    Raises:
        ValueError: something else.
    """
    sides = list(size) if isinstance(size, Sequence) else []
    if len(sides) != 3 or not all(isinstance(side, Integral) and int(side) > 0 for side in sides):
        raise ValueError(f"input_size {size!r} for {owner}; give (C, H, W), three whole numbers")
    return tuple(map(int, sides))


def refuse_quantised(model: nn.Module, why: str) -> None:
    """Layers that torch quantised are packed: they have no parameters and run on a CPU alone.

    Args:
        model: what was received.
        why: that is too little, and what to do, for the message.

    Raises:
        ValueError: such a layer.
    """
    for name, layer in model.named_modules():
        place = type(layer).__module__.split(".")
        if place[0] == "torch" and "quantized" in place:
            raise ValueError(f"{name or 'the network'} ({type(layer).__qualname__}) is quantised; {why}")


def refuse_hidden_blocks(model: Classifier, user: str) -> None:
    """Blocks that stand in something else than rows are run, but cannot be taken apart.

    Args:
        model: the network.
        user: what takes it apart, for the message.

    Raises:
        ValueError: a gated block that is none of ``model.blocks()``.
    """
    seen = set(model.blocks())
    for name, module in model.named_modules():
        if isinstance(module, GATED) and module not in seen:
            kinds = {type(model.get_submodule(name[:at])).__name__ for at, sign in enumerate(name) if sign == "."}
            inside = ", ".join(sorted(kinds - {"Sequential"})) or model.name
            raise ValueError(
                f"{name} of {model.name} stands inside {inside}, which {user} cannot look into; stages may be "
                "nn.Sequential alone, so give the network without what is around it"
            )
