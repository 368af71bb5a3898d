"""The images that runs are tested on: whether two have the same, and the first of them, read no further than needed."""

from itertools import islice

import torch
from torch import Tensor

from drnn.data import Source
from drnn.training.checkpoint import LoadedRun

AT_ONCE = 64  # test images in a batch, where not all are wanted


def same_test_images(first: LoadedRun, second: LoadedRun) -> bool:
    """Whether the test images are the same: those of one data set, divided and cut alike, or equal one by one."""
    sources = [
        (side.recipe.dataset, side.recipe.data_root, side.recipe.held_out, side.dataset.image_size)
        for side in (first, second)
    ]
    if sources[0] == sources[1]:
        return True
    if (first.dataset.num_test, first.dataset.image_size) != (second.dataset.num_test, second.dataset.image_size):
        return False
    pairs = zip(first.dataset.test_batches(AT_ONCE), second.dataset.test_batches(AT_ONCE), strict=True)
    return all(torch.equal(ours, theirs) for (ours, _), (theirs, _) in pairs)


def first_test_images(source: Source, count: int) -> Tensor:
    """The first ``count`` test images, uint8 ``(N, C, H, W)``, or all if there are fewer; a few more may be read."""
    batches = islice(source.test_batches(min(AT_ONCE, count)), -(-count // AT_ONCE))
    return torch.cat([images for images, _ in batches])[:count]
