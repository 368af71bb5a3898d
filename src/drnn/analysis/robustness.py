"""Blur, noise and occlusion of increasing strength: do the loops rise, and the errors?"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from drnn.intervals import mean_interval, wilson

Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]
AT_ONCE = 1 << 25  # bytes of images; a blur needs some fifty times as much
STRENGTHS = {
    "blur": (0.0, 0.5, 0.75, 1.0, 1.5, 2.0),
    "noise": (0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
    "occlusion": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
}
UNITS = {
    "blur": "standard deviation, pixels",
    "noise": "standard deviation, share of the range",
    "occlusion": "share of the image covered",
}


def blur(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian blur of uint8 ``(N, C, H, W)``; ``strength`` is its standard deviation in pixels."""
    if strength == 0:
        return images
    reach = min(int(np.ceil(3 * strength)), min(images.shape[2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * strength**2))
    kernel /= kernel.sum()
    channels = images.shape[1]
    x = torch.nn.functional.pad(images.float(), (reach,) * 4, mode="reflect")
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        weight = kernel.view(shape).expand(channels, -1, -1, -1)
        x = torch.nn.functional.conv2d(x, weight, groups=channels)
    return x.round().clamp(0, 255).to(torch.uint8)


def noise(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation ``255 * strength``, cut off at black and white."""
    drawn = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    return (images + 255 * strength * drawn).round().clamp(0, 255).to(torch.uint8)


def occlusion(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A nearly square patch of mid-grey over the share ``strength`` of every image, each at a place of its own."""
    count, _, height, width = images.shape
    tall = min(round((strength * height * width) ** 0.5), height)
    if tall == 0:
        return images
    wide = min(round(strength * height * width / tall), width)
    top = torch.randint(height - tall + 1, (count, 1), generator=generator)
    left = torch.randint(width - wide + 1, (count, 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + tall)
    inside = inside_rows[:, :, None] & ((columns >= left) & (columns < left + wide))[:, None, :]
    return torch.where(inside[:, None].to(images.device), torch.full_like(images, 127), images)


CORRUPTIONS: dict[str, Corrupt] = {
    "blur": blur,
    "noise": noise,
    "occlusion": occlusion,
}


def made_worse(corrupt: Corrupt, images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """`corrupt` on uint8 ``(N, C, H, W)``, so many images at a time that its work in float32 stays small."""
    count = max(1, AT_ONCE // images[:1].numel())
    return torch.cat([corrupt(part, strength, generator) for part in images.split(count)])


def robustness(
    evaluate: Callable[[Tensor], tuple[np.ndarray, np.ndarray]], images: Tensor, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Loops and errors as images get worse.

    Args:
        evaluate: from uint8 images ``(N, C, H, W)`` to the loops and the errors (bool) of each.
        images: uint8 ``(N, C, H, W)``.
        seed: of noise and places.

    Returns:
        For each corruption, arrays over its strengths: ``strength``, ``loops`` and ``error`` with their intervals
        ``loops_low .. error_high``.
    """
    found = {}
    for name, corrupt in CORRUPTIONS.items():
        rows = []
        for strength in STRENGTHS[name]:
            loops, wrong = evaluate(made_worse(corrupt, images, strength, torch.Generator().manual_seed(seed)))
            low, high = wilson(int(wrong.sum()), len(wrong))
            rows.append((strength, *mean_interval(loops), float(wrong.mean()), float(low), float(high)))
        names = ("strength", "loops", "loops_low", "loops_high", "error", "error_low", "error_high")
        found[name] = dict(zip(names, np.array(rows).T, strict=True))
    return found
