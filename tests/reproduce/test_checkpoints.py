"""The networks that ship are what their cards say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import drnn
from drnn.costs import count_params
from drnn.storage import read_json
from drnn.training import evaluate_source
from drnn.training import recipe as recipes
from drnn.training.checkpoint import load_run
from drnn.training.listing import list_runs
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import AVERAGE, differences, read_metrics, read_recipe

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path for path in (ROOT / "checkpoints").iterdir() if path.is_dir())
RESULTS = {  # of the runs that were released
    "dr_resnet16_cifar-short": "short/dr_resnet16-0.json",
    "resnet20_cifar-short": "short/resnet20-0.json",
    "dr_resnet16_cifar-paper": "paper/dr_resnet16-0.json",
    "resnet20_cifar-paper": "paper/resnet20-0.json",
    "dr_resnet16_cifar-modern": "modern/dr_resnet16-0.json",
    "resnet20_cifar-modern": "modern/resnet20-0.json",
    "dr_resnet74_cifar-from-resnet110": (
        "paper-20-epochs-5000-held-out-1.0-clip-resnet110-1-weights-bf16-precision/dr_resnet74-0.json"
    ),
}
BEGUN_FROM = {  # the run whose weights another one of them began with
    "dr_resnet74_cifar-from-resnet110": "paper-50-epochs-5000-held-out-1.0-clip-bf16-precision/resnet110-1.json"
}


def test_all_of_them_are_known():
    assert {folder.name for folder in FOLDERS} == set(RESULTS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_network_opens_and_is_small(folder):
    card = json.loads((folder / "card.json").read_text())
    model = drnn.from_pretrained(folder)
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert count_params(model) == card["params"]
    assert sum(card["loops_histogram"]) == result(folder)["images"]
    assert all(file.stat().st_size < 5e6 for file in folder.iterdir())


def result(folder: Path) -> dict:
    """What was found of the run that was released."""
    return read_json(ROOT / "results/cifar10" / RESULTS[folder.name])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_says_what_the_result_file_says(folder):
    card, found, recipe = json.loads((folder / "card.json").read_text()), result(folder), read_recipe(folder)
    told = {key: card[key] for key in ("name", "params", "max_macs", "mean_macs", "loops_histogram", "error", "commit")}
    assert told == {
        "name": found["model"],
        "params": found["params"],
        "max_macs": found["max_macs"],
        "mean_macs": found["macs_mean"],
        "loops_histogram": found["loops_histogram"],
        "error": [found["error"]],
        "commit": found["trained_on"][0]["commit"],
    }
    assert card["dataset"] == f"{recipe.dataset}, {found['images']:,} {recipes.tested_images(recipe.held_out)}"
    changed = ", precision bf16, clip_norm 1.0" if "dr_resnet74" in folder.name else ""
    if before := BEGUN_FROM.get(folder.name):
        begun = read_json(ROOT / "results/cifar10" / before)["weights_sha256"]
        assert [part["initial_weights_sha256"] for part in found["trained_on"]] == [begun]
        changed += f", from weights of SHA-256 {begun}"
    assert card["recipe"] == f"{recipe.name}, {recipe.epochs} epochs, seed {recipe.seed}{changed}"
    assert not differences(recipe, replace(recipe_from_dict(found["recipe"]), initial_weights=None))
    assert read_metrics(folder) == found["epochs"]
    assert (found["average"] is None) != (folder / AVERAGE).is_file()
    assert f"| test error | {card['error'][0]:.2%} (n = 1) |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("folder", [path for path in FOLDERS if (path / AVERAGE).is_file()], ids=lambda path: path.name)
def test_a_shipped_average_repeats_its_error_on_cifar10(folder, cifar10):
    model, _, dataset = load_run(folder, cifar10, average=True)
    summary, average = evaluate_source(model, dataset).summary(), result(folder)["average"]
    assert abs((1 - summary["acc1"]) - average["error"]) <= 5 / 10_000
    assert summary["macs_mean"] == pytest.approx(average["macs_mean"], rel=1e-3)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_network_repeats_its_error_on_cifar10(folder, cifar10):
    card = json.loads((folder / "card.json").read_text())
    model, _, dataset = load_run(folder, cifar10)
    found = evaluate_source(model, dataset)
    assert abs((1 - found.acc1) - card["error"][0]) <= 5 / 10_000  # images on the brink, on another machine
    assert found.summary()["macs_mean"] == pytest.approx(card["mean_macs"], rel=1e-3)


def test_shipped_runs_are_listed_as_finished():
    lines = list_runs(ROOT / "checkpoints")
    assert [(line.state, line.done == line.epochs) for line in lines] == [("finished", True)] * len(FOLDERS)
