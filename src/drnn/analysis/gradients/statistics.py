"""Separating two suspects: what is learnt (gamma, beta, weights) and which running statistics evaluation takes."""

import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from drnn.core import LVBN2d
from drnn.models import Classifier


def with_own_statistics(naive: Classifier) -> Classifier:
    """The same weights, gammas and betas in a network that keeps running statistics for every loop.

    In training mode it computes what ``naive`` computes. Its statistics are copies of the shared ones until
    `recalibrate` gives every loop its own.
    """
    twin = replace(naive.spec, norm="lvbn").build()
    twin.name = naive.name
    shared = naive.state_dict()
    weight = next(naive.parameters())
    twin.to(weight.device, weight.dtype).load_state_dict(
        {key: shared[re.sub(r"\.loops\.\d+", "", key)] for key in twin.state_dict()}
    )
    return twin.train(naive.training)


@torch.no_grad()
def with_mixed_statistics(lvbn: Classifier) -> Classifier:
    """A copy in which all loops of a norm evaluate with one mean and variance: those of all loops taken together."""
    twin = deepcopy(lvbn)
    for norm in twin.modules():
        if isinstance(norm, LVBN2d):
            loops = [loop for loop in norm.loops if isinstance(loop, nn.BatchNorm2d)]
            means = torch.stack([_given(loop.running_mean) for loop in loops])
            variances = torch.stack([_given(loop.running_var) for loop in loops])
            mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
            for loop in loops:
                _given(loop.running_mean).copy_(mean)
                _given(loop.running_var).copy_(var)
    return twin


@torch.no_grad()
def recalibrate(model: Classifier, batches: Iterable[Tensor]) -> Classifier:
    """A copy whose running statistics are plain averages over ``batches`` of its own training-mode statistics.

    Nothing is left of how the statistics lagged behind the weights while training.
    """
    twin = deepcopy(model).train()
    for norm in twin.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
    for batch in batches:
        twin(batch)
    return twin.eval()


def _given(statistic: Tensor | None) -> Tensor:
    assert statistic is not None
    return statistic
