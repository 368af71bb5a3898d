"""Parts of a training set: for choices that may not see the test, and for short runs."""

import torch
from torch import Tensor

from drnn.data.dataset import Dataset
from drnn.data.streamed import StreamedDataset

AnyDataset = Dataset | StreamedDataset
SEED = 0  # the split never depends on a run's seed


def hold_out(dataset: AnyDataset, count: int, seed: int = SEED) -> AnyDataset:
    """Take ``count`` training images, drawn by ``seed``, for the test part: for choices that may not see the test.

    Raises:
        ValueError: ``count`` is not between 1 and the number of training images less one.
    """
    total = dataset.num_train
    if not 1 <= count < total:
        raise ValueError(f"{count} images to hold out received; {dataset.name} has {total}, so 1 to {total - 1}")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return dataset.select(order[count:], order[:count])


def held_images(dataset: AnyDataset, most: int = 1000) -> Tensor:
    """The images of `hold_out`, uint8 ``(N, C, H, W)``: ``most``, or all training images but one if there are fewer.

    Raises:
        ValueError: ``most`` below 1, or fewer than two training images.
    """
    return hold_out(dataset, min(most, dataset.num_train - 1)).test_images


def limit(dataset: AnyDataset, count: int, seed: int = SEED) -> AnyDataset:
    """Keep ``count`` training images, drawn by ``seed``; the test part stays.

    Raises:
        ValueError: ``count`` is not between 1 and the number of training images.
    """
    total = dataset.num_train
    if not 1 <= count <= total:
        raise ValueError(f"{count} images to train on received; {dataset.name} has {total}, so 1 to {total}")
    return dataset.select(torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count])
