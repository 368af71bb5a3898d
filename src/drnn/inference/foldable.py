"""What may be folded: layers that compute as their class says, and that nobody watches."""

from torch import nn

from drnn.core.modes import makes_a_weight
from drnn.core.norms import is_frozen

OURS = ("torch", "drnn")  # packages whose classes are known here
HARMLESS = {"__init__", "reset_parameters", "extra_repr", "__repr__"}
BY_PYTHON = {
    "__doc__", "__module__", "__qualname__", "__annotations__", "__dict__", "__weakref__", "__firstlineno__",
    "__static_attributes__", "__parameters__",
}  # fmt: skip


def refuse_unfoldable(name: str, part: nn.Module) -> None:
    """A copy with norms folded has neither the layers nor the hooks of what it was made of.

    Args:
        name: of the part, for the message.
        part: a block, convolution, norm or gate that another layer takes the place of.

    Raises:
        ValueError: a layer in it that, or whose class, may compute something else than torch's and drnn's do; or one
            with forward hooks.
    """
    for below, layer in part.named_modules(prefix=name):
        kind = type(layer).__name__
        if makes_a_weight(below):
            continue  # and the weight is what is folded
        if _may_differ(layer):
            raise ValueError(
                f"{below} is a {kind} that may compute otherwise than the layer it stands for, and would be folded as "
                "that one; put a layer of torch or drnn in its place, or do without optimize"
            )
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise ValueError(
                f"{below} ({kind}) has forward hooks, which the optimised copy would lose; remove them before, those "
                "of pruning with torch.nn.utils.prune.remove, or do without optimize"
            )


def _may_differ(layer: nn.Module) -> bool:
    """Whether it, or a class of somebody else above it, says anything about how it computes."""
    if "forward" in vars(layer):
        return True
    if is_frozen(layer) and type(layer).__module__.startswith("torchvision."):
        return False
    foreign = (kind for kind in type(layer).__mro__ if kind.__module__.partition(".")[0] not in (*OURS, "builtins"))
    return any(vars(kind).keys() - HARMLESS - BY_PYTHON for kind in foreign)
