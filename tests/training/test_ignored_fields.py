"""A recipe's augmentation that its kind of data does not have is named, where it was asked for."""

import logging
from dataclasses import replace

import pytest
from PIL import Image

from drnn.training import RECIPES, Recipe, find_recipe, train
from drnn.training.ignored import ignored_fields, warnings_for

TINY = Recipe(model="resnet_digits", image_size=8, epochs=1, batch_size=4, threads=1, workers=0, held_out=2)


@pytest.mark.parametrize("kind", ["imagefolder", "huggingface", "webdataset"])
def test_fields_of_the_other_kind_of_data_are_found(kind):
    memory, files = Recipe(dataset="digits"), Recipe(dataset=kind)
    asked = {"padding": 4, "padding_mode": "reflect", "cutout": 8, "min_area": 0.5, "distortion": True, "flip": True}
    assert ignored_fields(memory) == ignored_fields(files) == {}
    assert ignored_fields(replace(files, **asked)) == {f"{kind} data": ["padding", "padding_mode", "cutout"]}
    assert ignored_fields(replace(memory, **asked)) == {"digits data": ["min_area", "distortion"]}
    assert ignored_fields(replace(memory, image_size=64)) == {"digits data": ["image_size"]}
    assert ignored_fields(replace(files, image_size=64)) == {}


def test_fields_of_the_other_schedule_are_found():
    assert ignored_fields(Recipe(epochs=9, milestones=(3,))) == {"the schedule cosine": ["milestones"]}
    assert ignored_fields(Recipe(epochs=9, schedule="step", milestones=(3,))) == {}
    assert ignored_fields(Recipe(epochs=9, schedule="step", warmup_epochs=5)) == {
        "the schedule step": ["warmup_epochs"]
    }
    assert ignored_fields(Recipe(epochs=9, schedule="step", warmup_epochs=0)) == {}  # no warm-up: as it is


def test_a_target_rate_is_ignored_where_no_gate_is():
    recipe = replace(find_recipe("digits"), gate="open", target_rate=0.3)
    assert ignored_fields(recipe) == {"gate open": ["target_rate"]}


@pytest.mark.parametrize(("epochs", "warned"), [(2, True), (3, True), (4, False)])
def test_a_run_that_ends_before_its_warm_up_is_told_so(epochs, warned):
    """As the first epochs of a long recipe, for a look; its accuracy says little."""
    said = warnings_for(replace(find_recipe("digits"), epochs=epochs), has_gates=True)
    assert [("the learning rate only rises" in line) for line in said] == [True] * warned


@pytest.mark.parametrize(("epochs", "warned"), [(4, True), (5, False), (6, False)])
def test_a_lambda_that_never_gets_there_is_told(epochs, warned):
    recipe = replace(find_recipe("digits"), epochs=epochs, warmup_epochs=0, rate_warmup_epochs=5)
    (line,) = warnings_for(recipe, has_gates=True) or [None]
    assert (line is not None) == warned
    assert line is None or line.startswith(f"rate_warmup_epochs 5 received for {epochs} epochs: lambda ends below")
    assert not warnings_for(recipe, has_gates=False)
    assert not warnings_for(replace(recipe, rate_weight=0.0), has_gates=True)


def test_no_built_in_recipe_asks_for_what_its_data_ignore():
    assert {name: ignored_fields(find_recipe(name)) for name in RECIPES} == {name: {} for name in RECIPES}


def test_training_says_it_in_one_line(tmp_path, caplog):
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (8, 8)).save(tmp_path / "data" / part / name / f"{number}.png")
    recipe = replace(TINY, dataset="imagefolder", data_root=str(tmp_path / "data"), cutout=4, padding=2)
    with caplog.at_level(logging.WARNING):
        train(recipe, tmp_path / "asked", progress=False)
    (line,) = (record.getMessage() for record in caplog.records if "ignored" in record.getMessage())
    assert line == "padding = 2, cutout = 4 received, and ignored by imagefolder data"
    caplog.clear()
    train(replace(recipe, cutout=0, padding=1), tmp_path / "plain", progress=False)
    assert not [record for record in caplog.records if "ignored" in record.getMessage()]
