"""What tests of result files ask for by name."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from drnn.reproduce import Job, result_of
from drnn.storage import write_json
from drnn.training import find_recipe, train
from drnn.training.recipe_fields import recipe_from_dict

TINY = {"epochs": 1, "batch_size": 128, "train_images": 300, "threads": 1, "device": "cpu", "ema_decay": 0.5}
BASES = {"dr_resnet16": "digits", "resnet20": "digits-static", "aig_resnet110": "digits"}


def trained(root: Path, row: str, seed: int = 0, **changes) -> Job:
    """A finished run of the digits that stands for a row of Table 1."""
    changes = {**TINY, "seed": seed, **changes}
    recipe, name = recipe_from_dict(changes, find_recipe(BASES[row])), f"{row}-{seed}"
    job = Job(row, "short", recipe, BASES[row], changes, root / "runs/short" / name, root / f"short/{name}.json")
    train(recipe, job.folder, progress=False)
    write_json(job.file, result_of(job))
    return job


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Runs and results: two seeds of a recursive network, two of its static counterpart, one of another row."""
    root = tmp_path_factory.mktemp("made")
    named = [("dr_resnet16", 0), ("dr_resnet16", 1), ("resnet20", 0), ("resnet20", 1), ("aig_resnet110", 0)]
    return root, {(row, seed): trained(root, row, seed) for row, seed in named}


@pytest.fixture
def here(made, tmp_path):
    """A copy to spoil: what it holds, and its jobs by row and seed."""
    root, jobs = made
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    moved = {
        key: replace(job, folder=tmp_path / job.folder.relative_to(root), file=tmp_path / job.file.relative_to(root))
        for key, job in jobs.items()
    }
    return tmp_path / "short", moved
