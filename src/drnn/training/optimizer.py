"""The optimiser a recipe asks for, and the moving average of the weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from drnn.training.recipe import Recipe

EXECUTION = ("fused", "foreach")  # settings that say how an update is computed, not which


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.SGD:
    """SGD; norms, biases and gates' scales are spared the decay where the recipe says so.

    On a GPU it is the fused form with the learning rate on the device, which a graph can hold.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": parameters}]
    if not recipe.decay_norms:
        vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
        weights = [parameter for parameter in parameters if parameter.dim() > 1]
        groups = [{"params": weights}, {"params": vectors, "weight_decay": 0.0}]
    on_gpu = parameters[0].is_cuda
    lr: float | Tensor = torch.tensor(recipe.lr, device=parameters[0].device) if on_gpu else recipe.lr
    return torch.optim.SGD(
        groups, lr=lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay,
        fused=on_gpu,
    )  # fmt: skip


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, in place where it lives on a device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Momentum and settings of a checkpoint, which may have been made on another device.

    The learning rate keeps its tensor, on the device and known to a graph, and updates are computed as they were.
    """
    own = [{key: group[key] for key in ("lr", *EXECUTION)} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, here in zip(optimizer.param_groups, own, strict=True):
        lr, rate = float(group["lr"]), here["lr"]
        group.update(here, lr=rate.fill_(lr) if isinstance(rate, Tensor) else lr)


class WeightAverage:
    """An exponential moving average of a network's weights and statistics.

    The decay starts low, ``min(decay, (1 + n) / (10 + n))`` at update n, so that a short run is not dragged by its
    start.

    Attributes:
        model: a copy of the network that holds the averages, in evaluation mode.
        updates: how many there were.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.model = deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the averages towards ``model``; whole numbers, such as counts, are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours, theirs = self.model.state_dict(), model.state_dict()
        moving = [name for name, value in ours.items() if value.is_floating_point()]
        average = get_ema_multi_avg_fn(decay)
        average([ours[name] for name in moving], [theirs[name] for name in moving], self.updates)
        for name in ours.keys() - set(moving):
            ours[name].copy_(theirs[name])
