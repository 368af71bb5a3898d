"""Which images make up which batch."""

from collections.abc import Iterator

import torch
from torch import Tensor


def epoch_batches(
    num_images: int, batch_size: int, generator: torch.Generator | None = None, drop_last: bool = False
) -> Iterator[Tensor]:
    """Index batches ``(<= batch_size,)`` int64 that visit every image once, shuffled where a generator is given.

    Raises:
        ValueError: a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} received; it is 1 or more")
    order = torch.arange(num_images) if generator is None else torch.randperm(num_images, generator=generator)
    whole = num_images - num_images % batch_size if drop_last else num_images
    return iter(order[:whole].split(batch_size) if whole else ())
