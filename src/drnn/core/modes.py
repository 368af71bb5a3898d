"""What torch does with a tensor besides what it is asked for."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def has_derivative(x: Tensor) -> bool:
    """Whether autograd follows x, backwards or forwards: then it is not written into, and not read as bytes."""
    return (torch.is_grad_enabled() and x.requires_grad) or forward_ad._current_level >= 0


def autocasts(x: Tensor) -> bool:
    """Whether calls on x run under autocast, which the device "meta" does not know."""
    kind = x.device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)
