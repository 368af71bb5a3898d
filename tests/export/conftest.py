"""Export needs a newer torch than the rest."""

import pytest
import torch

from drnn import export_onnx
from drnn.export import verify
from drnn.models import Preprocessing

from .small import KINDS, small_network

OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11)


@pytest.fixture(scope="session")
def model():
    """With thresholds that are not where training decides."""
    made = small_network()
    verify.set_thresholds_by_block(made, verify.mixed_thresholds(made, verify.varied_images(32, (3, 8, 8))))
    return made


@pytest.fixture(scope="session")
def files(model, tmp_path_factory):
    """One file of each kind; writing compares it with eager."""
    folder = tmp_path_factory.mktemp("onnx")
    made = {}
    for form, norms in KINDS:
        made[form, norms] = folder / f"{form}-{norms}.onnx"
        result = export_onnx(model, made[form, norms], Preprocessing((3, 8, 8), (0.1,) * 3, (0.2,) * 3), form, norms)
        assert result.images == 4 * (sum(verify.BATCHES) + 2 * verify.OTHERS)
        assert result.difference < 1e-5
    assert {file.name for file in folder.iterdir()} == {path.name for path in made.values()}
    return made


def pytest_collection_modifyitems(items):
    """Skip what is in this folder, and say why."""
    if not OLD:
        return
    skip = pytest.mark.skip(reason=f"export is tested with torch 2.11 and newer; this is {torch.__version__}")
    for item in items:
        if "/export/" in item.path.as_posix():
            item.add_marker(skip)
