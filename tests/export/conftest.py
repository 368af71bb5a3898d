"""Export needs a newer torch than the rest."""

import pytest
import torch

from drnn.export import verify

from .small import small_network

OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11)


@pytest.fixture(scope="module")
def model():
    """With thresholds that are not where training decides."""
    made = small_network()
    verify.set_thresholds(made, verify.mixed_thresholds(made, verify.varied_images(32, (3, 8, 8))))
    return made


def pytest_collection_modifyitems(items):
    """Skip what is in this folder, and say why."""
    if not OLD:
        return
    skip = pytest.mark.skip(reason=f"export is tested with torch 2.11 and newer; this is {torch.__version__}")
    for item in items:
        if "/export/" in item.path.as_posix():
            item.add_marker(skip)
