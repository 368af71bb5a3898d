"""The networks that ship are what their cards say."""

import json
import os
from pathlib import Path

import pytest
import torch

import drnn
from drnn.costs import count_params
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run

FOLDERS = sorted(path for path in (Path(__file__).parents[2] / "checkpoints").iterdir() if path.is_dir())
CIFAR10 = os.environ.get("DRNN_CIFAR10")


def test_there_are_some():
    assert {"dr_resnet16_cifar-short", "resnet20_cifar-short"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_network_opens_and_is_small(folder):
    card = json.loads((folder / "card.json").read_text())
    model = drnn.from_pretrained(folder)
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert count_params(model) == card["params"]
    assert sum(card["loops_histogram"]) == 10_000
    assert all(file.stat().st_size < 5e6 for file in folder.iterdir())


@pytest.mark.skipif(not CIFAR10, reason="DRNN_CIFAR10 does not name a folder with CIFAR-10")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_network_repeats_its_error_on_cifar10(folder):
    card = json.loads((folder / "card.json").read_text())
    model, _, dataset = load_run(folder, CIFAR10)
    found = evaluate_source(model, dataset)
    assert abs((1 - found.acc1) - card["error"][0]) <= 5 / 10_000  # images on the brink, on another machine
    assert found.summary()["macs_mean"] == pytest.approx(card["mean_macs"], rel=1e-3)
