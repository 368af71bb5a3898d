"""Sums over an epoch, kept on the device until somebody asks."""

import math

import torch
from torch import Tensor

from drnn.training.distributed import Workers
from drnn.training.step import StepResult

HEAD = 4  # sums before those of the slots: images, loss, cross entropy, wrong answers


def require_finite(value: float, what: str) -> None:
    """Stop a run that has diverged.

    Raises:
        FloatingPointError: ``value`` is infinite or not a number.
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"{what} is {value}: training diverged; try a lower --lr")


class Tally:
    """Losses, errors and executed loops over an epoch.

    Args:
        num_slots: T.
        device: where the sums are kept.
    """

    def __init__(self, num_slots: int, device: torch.device | str = "cpu"):
        self.sums = torch.zeros(HEAD + 2 * num_slots, dtype=torch.float64, device=device)

    def add(self, result: StepResult) -> None:
        """Add one step, without waiting for it."""
        losses = torch.stack([result.loss, result.cross_entropy]).double() * result.images
        head = torch.cat([losses, result.wrong.double()[None]])
        images = self.sums.new_full((1,), result.images)
        self.sums += torch.cat([images, head, result.arrived.double(), result.executed.double()])

    def over_all(self, workers: Workers) -> "Tally":
        """The same over all processes."""
        whole = Tally((len(self.sums) - HEAD) // 2, self.sums.device)
        whole.sums = workers.total(self.sums)
        return whole

    def means(self) -> dict:
        """Loss, the cross entropy in it of the gates' pass, error, loops per image, and rates (None: none arrived)."""
        images, loss, cross_entropy, wrong, *counts = self.sums.tolist()
        arrived, executed = counts[: len(counts) // 2], counts[len(counts) // 2 :]
        apart = {} if math.isnan(cross_entropy) else {"train_cross_entropy": cross_entropy / images}
        return {
            "train_loss": loss / images,
            **apart,
            "train_error": wrong / images,
            "mean_loops": sum(executed) / images,
            "executed_rates": [e / a if a else None for e, a in zip(executed, arrived, strict=True)],
        }

    def short(self) -> dict:
        """What fits on a progress bar."""
        means = self.means()
        return {
            "loss": f"{means['train_loss']:.3f}",
            "error": f"{means['train_error']:.3f}",
            "loops": f"{means['mean_loops']:.2f}",
        }

    def state(self) -> Tensor:
        """What a checkpoint keeps."""
        return self.sums.cpu()

    def restore(self, sums: Tensor) -> None:
        """Go on from there; sums of before the cross entropy was told apart leave it unknown, and so untold."""
        if len(sums) == len(self.sums) - 1:
            sums = torch.cat([sums[:2], sums.new_full((1,), math.nan), sums[2:]])
        self.sums.copy_(sums)
