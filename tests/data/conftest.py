"""A folder of images for the tests of data sets that are read from files."""

import pytest
from PIL import Image

from drnn.data import load_dataset


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Handwritten digits as an ImageNet folder: JPEG for training, PNG for the test, odd sizes."""
    root, digits = tmp_path_factory.mktemp("imagenet"), load_dataset("digits")
    for part, ending, count in (("train", "JPEG", 20), ("val", "png", 7)):
        for name, label in (("one", 1), ("three", 3), ("seven", 7)):
            (root / part / name).mkdir(parents=True)
            chosen = digits.train_images[digits.train_labels == label][:count]
            for number, image in enumerate(chosen):
                picture = Image.fromarray(image[0].numpy()).resize((40 + number, 50), Image.Resampling.BILINEAR)
                picture.convert("RGB").save(root / part / name / f"{number}.{ending}", quality=90)
    return root
