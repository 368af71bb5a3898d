"""Batch normalisation of two groups in one batch: moments in one pass, one normalising pass, and its gradient."""

from typing import Any

import torch
from torch import Tensor


def group_moments(x: Tensor, members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(G, C)``, biased variance ``(G, C)`` and values per channel ``(G, 1)`` of each group of images.

    Reads x once, for every image's own moments, and pools those; stable for a large mean, because no raw square is
    ever summed. An empty group has mean and variance 0.

    Args:
        x: ``(N, C, H, W)``; half precision is summed in float32.
        members: bool ``(G, N)``.
    """
    var, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), (2, 3), correction=0)
    inside, images = members[:, :, None], members.sum(1, keepdim=True).to(mean.dtype)  # an integer ratio is float32
    share = images.clamp(min=1)
    pooled = torch.where(inside, mean, 0).sum(1) / share
    spread = torch.where(inside, var + (mean - pooled[:, None]) ** 2, 0).sum(1) / share
    return pooled, spread, images * (x.shape[2] * x.shape[3])


class NormalizeGroups(torch.autograd.Function):
    """``(x - centre) * inverse * weight + bias`` with centre and inverse of each image's group, in one pass.

    The gradient is that of batch normalisation, for each group by itself: with n values in the group, ::

        dx = weight * inverse * (dy - sum(dy) / n - (x - centre) * inverse^2 * sum(dy * (x - centre)) / n)

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C,)``.
        bias: ``(C,)``.
        centre: ``(2, C)``, of the executing and of the leaving group.
        inverse: ``(2, C)``, 1 over the standard deviation.
        share: ``(2, 1)``, 1 / n; 0 where centre and inverse do not depend on x.
        members: bool ``(2, N)``, whose values centre and inverse were taken from.
        executes: bool ``(N,)``, which of the two an image is normalised by, member or not.

    Source: Ioffe & Szegedy, 2015, for the gradient.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        """Normalise."""
        x, weight, bias, centre, inverse, _, _, executes = inputs
        ctx.save_for_backward(*inputs)
        scale = of_image(inverse * weight, executes)
        return torch.addcmul(bias[:, None, None], x - of_image(centre, executes), scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight, _, centre, inverse, share, members, executes = ctx.saved_tensors
        (dy,) = gradients
        centred = x - of_image(centre, executes)
        sums, products = dy.sum((2, 3), dtype=centre.dtype), (dy * centred).sum((2, 3))  # (N, C)
        users = torch.stack([executes, ~executes])[:, :, None]
        bias_of, weight_of = ((users * part).sum(1) for part in (sums, products))  # (2, C)
        inside = members.any(0)[:, None, None, None]
        shift = of_image(bias_of * share, executes) * inside
        slope = of_image(weight_of * share * inverse**2, executes) * inside
        dx = of_image(inverse * weight, executes) * (dy - torch.addcmul(shift, centred, slope))
        return dx.to(x.dtype), (weight_of * inverse).sum(0), bias_of.sum(0), *[None] * 5


def of_image(groups: Tensor, executes: Tensor) -> Tensor:
    """From ``(2, C)`` to every image's own ``(N, C, 1, 1)``."""
    return torch.where(executes[:, None], groups[0], groups[1])[:, :, None, None]
