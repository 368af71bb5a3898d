"""scikit-learn's 1,797 handwritten digits, 8 x 8: real images that need no download."""

import numpy as np
import torch

from drnn.data.dataset import Dataset

TEST_IMAGES, SPLIT_SEED = 599, 0  # a third; the split never depends on a run's seed


def load_digits() -> Dataset:
    """1,198 training and 599 test images, split once, each class in proportion. Values 0..16 become 0..255.

    Source: UCI "Optical Recognition of Handwritten Digits", as shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    images, labels = sklearn_digits(return_X_y=True)
    pixels = torch.from_numpy(np.rint(images * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels.astype(np.int64))
    split = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=SPLIT_SEED)
    train, test = (torch.from_numpy(part) for part in split)
    scaled = pixels[train].double() / 255
    return Dataset(
        name="digits",
        train_images=pixels[train],
        train_labels=targets[train],
        test_images=pixels[test],
        test_labels=targets[test],
        classes=tuple("0123456789"),
        mean=(float(scaled.mean()),),
        std=(float(scaled.std(correction=0)),),
    )
