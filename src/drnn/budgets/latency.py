"""Milliseconds of images that come one by one."""

from statistics import mean, median

import torch
from torch import Tensor

from drnn.models import Classifier
from drnn.timing import seconds


@torch.inference_mode()
def mean_ms(model: Classifier, images: Tensor, rounds: int = 3) -> float:
    """Mean milliseconds of ``images (N, C, H, W)`` at batch 1: of each image the median of several rounds."""
    for image in images[:3].split(1):
        model(image)
    times = [
        [seconds(lambda _, image=image: model(image), device=images.device) for image in images.split(1)]
        for _ in range(rounds)
    ]
    return 1e3 * mean(median(of_one) for of_one in zip(*times, strict=True))


def macs_between(ms: float, closed: tuple[float, float], opened: tuple[float, float]) -> float:
    """Multiply-adds that take ``ms``, on the straight line between two measurements.

    Args:
        ms: milliseconds an image.
        closed: milliseconds and multiply-adds of an image with all gates closed.
        opened: likewise with all open.

    Raises:
        ValueError: ``ms`` more than 2 % outside what was measured, or gates that make no difference to the time.

    Example:
        >>> macs_between(3.0, (2.0, 100.0), (6.0, 500.0))
        200.0
    """
    (fast, low), (slow, high) = closed, opened
    measured = f"{fast:.3f} ms with all gates closed and {slow:.3f} ms with all open"
    if fast >= slow:
        raise ValueError(f"gates make no difference to the time here, {measured}; ask for multiply-adds with --macs")
    if not fast * 0.98 <= ms <= slow * 1.02:
        raise ValueError(
            f"{ms} ms an image were asked for; on this machine, optimised, at batch 1, this network takes {measured}"
        )
    return low + min(1.0, max(0.0, (ms - fast) / (slow - fast))) * (high - low)
