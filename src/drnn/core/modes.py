"""What torch does with a tensor besides what it is asked for."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def has_derivative(x: Tensor) -> bool:
    """Whether autograd follows x, backwards or forwards: then it is not written into, and not read as bytes."""
    return (torch.is_grad_enabled() and x.requires_grad) or forward_ad._current_level >= 0


def autocasts(x: Tensor) -> bool:
    """Whether calls on x run under autocast, which the device "meta" does not know."""
    kind = x.device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)


def is_traced() -> bool:
    """Whether torch records the calls that this example makes, and will repeat them for all others."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined]


def makes_a_weight(name: str) -> bool:
    """Whether a module of this name makes a weight of the layer around it, see torch.nn.utils.parametrize."""
    return ".parametrizations." in f".{name}"


def drop_hooks(model: nn.Module) -> nn.Module:
    """Forget, in place, hooks of whoever looks at values; torch's own stay, which make weights, as in pruning."""
    for layer in model.modules():
        layer._forward_hooks.clear()
        for number, hook in list(layer._forward_pre_hooks.items()):
            if not type(hook).__module__.startswith("torch."):
                del layer._forward_pre_hooks[number]
    return model
