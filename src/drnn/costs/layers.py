"""What one layer costs, known here or registered."""

from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from drnn.core.norms import is_frozen

CONVS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
KNOWN = (*CONVS, nn.Linear, *NORMS, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)

LayerMacs = Callable[[nn.Module, tuple, Tensor], int]  # a layer, what it was called with, what it gave
_registered: dict[type[nn.Module], LayerMacs] = {}


def register(layer_type: type[nn.Module], macs: LayerMacs) -> None:
    """Say what a layer of one's own costs, so that networks with it can be counted; from now on, in this process.

    Args:
        layer_type: a class of layers; it stands for its subclasses too, unless they are registered themselves. To
            register it again replaces ``macs``.
        macs: ``macs(layer, inputs, output)``, the multiply-adds of one call for one image: ``inputs`` are the
            positional arguments, with ``output`` of a batch of one and without values, on the device "meta", on which
            the layer has to run. 0 for what the counting leaves out, as norms and activations. Layers inside are
            counted by themselves.

    Raises:
        TypeError: no class of layers.
        ValueError: a class that is counted already.

    Example:
        >>> class Scale(nn.Module):
        ...     pass
        >>> register(Scale, lambda layer, inputs, output: output.numel())
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, nn.Module)):
        raise TypeError(f"{layer_type!r} received; register a class of layers, a subclass of torch.nn.Module")
    if layer_type in KNOWN:
        raise ValueError(f"{layer_type.__qualname__} received, which is counted already; register a subclass of it")
    _registered[layer_type] = macs


def registered_macs(layer: nn.Module) -> LayerMacs | None:
    """What `register` was told of this layer's class, or of one above it."""
    return next((_registered[kind] for kind in type(layer).__mro__ if kind in _registered), None)


def layer_macs(layer: nn.Module, out, count_norms: bool) -> int:
    """Multiply-adds of one layer that is not registered, for one image; 0 for what is not counted.

    All of ``out`` is that image's, also where a network puts windows or positions into the first dimension.
    """
    if isinstance(layer, CONVS):
        return out.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return out.numel() * layer.in_features
    return 2 * out.numel() if count_norms and (isinstance(layer, NORMS) or is_frozen(layer)) else 0
