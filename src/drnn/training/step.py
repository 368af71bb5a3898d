"""One training step: forward, loss, backward, update. The same for every network and device."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from drnn.core import every_loop, rate_loss
from drnn.data import Normalize
from drnn.models import Classifier
from drnn.training.distributed import Workers, over_all
from drnn.training.recipe import Recipe


class StepResult(NamedTuple):
    """What a step saw, on the device: sums over the images of this process.

    ``loss ()`` is the mean loss of the batch and ``cross_entropy ()`` the part of it that is of the pass in
    which the gates decide, without the rate loss; ``images`` is its size, ``wrong ()`` a count of that pass;
    ``arrived`` and ``executed`` ``(T,)`` count images at each loop slot.
    """

    loss: Tensor
    cross_entropy: Tensor
    images: int
    wrong: Tensor
    arrived: Tensor
    executed: Tensor


class WithGates(nn.Module):
    """The network with its gates' record for an output, as wrappers such as DistributedDataParallel call it."""

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor):
        """``forward_with_gates``."""
        return self.model.forward_with_gates(images)


def autocast(recipe: Recipe, device: torch.device) -> Callable[[], AbstractContextManager]:
    """The context a forward pass runs in.

    Raises:
        ValueError: the recipe asks for bf16 and the device computes it only by emulation, or not at all.
    """
    if recipe.precision == "float32":
        return nullcontext
    fine = (
        torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if not fine:
        raise ValueError(
            f"precision bf16 received, which this {device.type} device has no instructions for; use float32"
        )
    return lambda: torch.autocast(device.type, torch.bfloat16)


class Step:
    """The one update path.

    Args:
        recipe: what to do.
        model: the network, on its device.
        optimizer: of its parameters.
        normalize: from uint8 to what the network takes.
        workers: the processes that share the work.
    """

    def __init__(
        self, recipe: Recipe, model: Classifier, optimizer: torch.optim.Optimizer, normalize: Normalize,
        workers: Workers,
    ):  # fmt: skip
        self.recipe, self.model, self.optimizer, self.normalize, self.workers = (
            recipe, model, optimizer, normalize, workers,
        )  # fmt: skip
        self.network = workers.wrap(WithGates(model))
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.autocast = autocast(recipe, workers.device)
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def __call__(self, images: Tensor, labels: Tensor, rate_weight: Tensor | float) -> StepResult:
        """One update from uint8 images ``(N, C, H, W)`` and labels ``(N,)``, with lambda ``rate_weight``."""
        results, parts = [], self.recipe.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        for index, (x, y) in enumerate(zip(images.chunk(parts), labels.chunk(parts), strict=True)):
            with self.workers.no_sync(self.network) if index + 1 < parts else nullcontext():
                results.append(self.backward(x, y, rate_weight))
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.optimizer.step()
        if parts == 1:
            return results[0]
        losses, entropies, _, *counts = zip(*results, strict=True)
        means = (torch.stack(losses).mean(), torch.stack(entropies).mean())
        return StepResult(*means, len(labels), *(torch.stack(count).sum(0) for count in counts))

    def backward(self, images: Tensor, labels: Tensor, rate_weight: Tensor | float) -> StepResult:
        """Gradients of one backward pass, added to what is there."""
        x = self.normalize(images).contiguous(memory_format=torch.channels_last)
        beside = self.backward_every_loop(x, labels)
        with self.autocast():
            logits, record = self.network(x)
        logits = logits.float()
        loss = cross_entropy = self.criterion(logits, labels)
        arrived, executed = record.arrived.sum(0), record.decision.float().sum(0)  # bf16 cannot count to 257
        if self.model.target_rate is not None:
            rates = rate_loss(*over_all(self.workers, executed, arrived), self.model.target_rate)
            loss = loss + rate_weight * rates
        (loss / self.recipe.accumulate).backward()
        wrong = (logits.detach().argmax(1) != labels).sum()
        losses = (loss.detach() + beside, cross_entropy.detach())
        return StepResult(*losses, len(labels), wrong, arrived, record.executed.sum(0))

    def backward_every_loop(self, x: Tensor, labels: Tensor) -> Tensor | float:
        """The same of the images x ``(N, C, H, W)`` with every loop executed, by its weight; returns that loss.

        Its gradients stay on this process until those of the other pass are averaged, and its graph is gone by then.
        """
        weight = self.recipe.every_loop_weight
        if not weight:
            return 0.0
        with self.workers.no_sync(self.network), every_loop(self.model):
            with self.autocast():
                logits, _ = self.network(x)
            loss = weight * self.criterion(logits.float(), labels)
            (loss / self.recipe.accumulate).backward()
        return loss.detach()
