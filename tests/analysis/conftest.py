"""What tests of the analysis ask for by name."""

import shutil
from dataclasses import replace

import pytest

from drnn.data import load_dataset
from drnn.training import find_recipe, train
from drnn.training.recipe_fields import recipe_text
from drnn.training.run_folder import read_recipe


@pytest.fixture(scope="session")
def pictures():
    return load_dataset("digits").test_images[:24]


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "net"
    recipe = replace(find_recipe("digits"), epochs=1, held_out=1000, batch_size=99, threads=1, warmup_epochs=0)
    train(recipe, folder, progress=False)
    return folder


@pytest.fixture
def copied(run, tmp_path):
    """The run again, with changes to its recipe."""

    def copy(**changes):
        folder = shutil.copytree(run, tmp_path / "copied", dirs_exist_ok=True)
        (folder / "recipe.yaml").write_text(recipe_text(replace(read_recipe(run), **changes).to_dict()))
        return folder

    return copy
