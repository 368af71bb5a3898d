"""A short run to turn."""

from dataclasses import replace

import pytest

from drnn.training import find_recipe, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    train(replace(find_recipe("digits"), epochs=3, threads=1, device="cpu"), folder, progress=False)
    return folder
