"""Batch normalisation of two groups in one batch: who is in which, their moments, one normalising pass, its gradient.

A GPU spends more time on starting small kernels than on most feature maps of small images, so what does not depend on
a norm is computed once a loop, and what remains in few calls.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class GroupNumbers(NamedTuple):
    """The two groups of a batch, executing and leaving, as norms need them; n is a group's values per channel.

    Attributes:
        executes: ``(N, 1)``, bool.
        arrives: ``(N, 1)``, bool: the members of either group.
        share: ``(2, N)``, 1 over the group's images for its members, 0 elsewhere.
        users: ``(2, N)``, 1 where an image is normalised by that group, member or not.
        enough: ``(2, 1)``, whether n > 1.
        more: ``(2,)``, the same as a whole number.
        moves: ``(2,)``, the same as a fraction.
        per_value: ``(2, 1)``, 1 / n, 0 where n is not enough.
        unbiased: ``(2, 1)``, n / (n - 1).
    """

    executes: Tensor
    arrives: Tensor
    share: Tensor
    users: Tensor
    enough: Tensor
    more: Tensor
    moves: Tensor
    per_value: Tensor
    unbiased: Tensor


@dataclass(frozen=True, eq=False)
class LoopGroups:
    """Who is who in one loop of one batch: bool masks ``(N,)``, or one bool where it is the same for all."""

    arrives: Tensor | bool
    executes: Tensor | bool
    _made: dict = field(default_factory=dict, init=False, repr=False)

    def numbers(self, values: int, dtype: torch.dtype) -> GroupNumbers:
        """Of masks, for norms over ``values`` pixels an image; made once for all norms of a loop."""
        if not isinstance(values, int):  # a size that is free while this is traced
            return self._numbers(values, dtype)
        key = values, dtype
        if key not in self._made:
            self._made[key] = self._numbers(values, dtype)
        return self._made[key]

    def _numbers(self, values: int, dtype: torch.dtype) -> GroupNumbers:
        assert isinstance(self.arrives, Tensor)
        assert isinstance(self.executes, Tensor)
        with torch.no_grad():  # as a decorator it stops the compiler of torch 2.11
            users = torch.stack([self.executes, ~self.executes]).to(dtype)
            members = users * self.arrives
            images = members.sum(1, keepdim=True)
            count = images * values
            enough = count > 1
            more = enough[:, 0].long()
            return GroupNumbers(
                executes=self.executes[:, None],
                arrives=self.arrives[:, None],
                share=members / images.clamp(min=1),
                users=users,
                enough=enough,
                more=more,
                moves=more.to(dtype),
                per_value=enough / count.clamp(min=1),  # of count's dtype
                unbiased=count / (count - 1).clamp(min=1),
            )


def totals(weights: Tensor, values: Tensor) -> Tensor:
    """Sums ``(2, C)`` over images of values ``(N, C)`` by weights ``(2, N)``; no autocast or TF32 rounds them."""
    return (weights[:, :, None] * values).sum(1)


def group_moments(
    x: Tensor, groups: GroupNumbers, running_mean: Tensor, running_var: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(2, C)`` and biased variance ``(2, C)`` of each group, and every image's own group's mean ``(N, C)``.

    Reads x once, for every image's own moments, and pools those; stable for a large mean, because no raw square is
    ever summed. A group that has not enough values gets the running ones; images of neither group count for nothing,
    whatever they have become.

    Args:
        x: ``(N, C, H, W)``; half precision is summed in float32.
        groups: of x.
        running_mean: ``(C,)``.
        running_var: ``(C,)``.
    """
    var, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), (2, 3), correction=0)
    mean = torch.where(groups.arrives, mean, 0)
    centre = torch.where(groups.enough, totals(groups.share, mean), running_mean)
    own = torch.where(groups.executes, centre[0], centre[1])
    apart = mean - own
    spread = totals(groups.share, torch.where(groups.arrives, torch.addcmul(var, apart, apart), 0))
    return centre, torch.where(groups.enough, spread, running_var), own


class NormalizeGroups(torch.autograd.Function):
    """``(x - centre) * inverse * weight + bias`` with centre and inverse of each image's group, in one pass.

    The gradient is that of batch normalisation, for each group by itself: with n values in the group, ::

        dx = weight * inverse * (dy - sum(dy) / n - (x - centre) * inverse^2 * sum(dy * (x - centre)) / n)

    without the sums for images of neither group, and where a group has not enough values. There is no second
    derivative: centre and inverse come in as numbers.

    Args:
        x: ``(N, C, H, W)``.
        weight: ``(C,)``.
        bias: ``(C,)``.
        own: ``(N, C)``, the centre of each image's group.
        inverse: ``(2, C)``, 1 over the standard deviation of each group.
        groups: of x.

    Source: Ioffe & Szegedy, 2015, for the gradient.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Normalise."""
        x, weight, bias, own, inverse, groups = inputs
        scale = inverse * weight
        centred = x - own[:, :, None, None]
        ctx.save_for_backward(centred if centred.dtype == x.dtype else x, own, scale, inverse)  # the smaller of the two
        ctx.groups, ctx.dtype = groups, x.dtype
        scale_of_image = torch.where(groups.executes, scale[0], scale[1])[:, :, None, None]
        return torch.addcmul(bias[:, None, None], centred, scale_of_image).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        (kept, own, scale, inverse), (dy,), groups = ctx.saved_tensors, gradients, ctx.groups
        centred, channels = kept if kept.dtype == own.dtype else kept - own[:, :, None, None], scale.shape[1]
        sums = torch.cat([dy.sum((2, 3), dtype=centred.dtype), (dy * centred).sum((2, 3))], 1)  # (N, 2 C)
        bias_of, product_of = totals(groups.users, sums).split(channels, 1)
        strength = -scale * groups.per_value
        shift, slope = strength * bias_of, strength * inverse.square() * product_of
        both = torch.cat([shift, slope], 1)
        of_image = (torch.where(groups.executes, both[0], both[1]) * groups.arrives)[:, :, None, None]
        direct = torch.where(groups.executes, scale[0], scale[1])[:, :, None, None]
        dx = torch.addcmul(torch.addcmul(of_image[:, :channels], centred, of_image[:, channels:]), dy, direct)
        return dx.to(ctx.dtype), (product_of * inverse).sum(0), bias_of.sum(0), None, None, None
