"""A step schedule comes to all its milestones, or is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from drnn.cli.main import main
from drnn.training import RECIPES, Recipe, find_recipe
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import read_recipe
from drnn.training.schedule import learning_rate, shortened

ROOT = Path(__file__).parents[2]
PAPER = find_recipe("cifar10-dr16")


@pytest.mark.parametrize("epochs", [100, 150, 250])
def test_milestones_at_the_end_or_beyond_it_are_refused(epochs):
    for make in (
        lambda: replace(PAPER, epochs=epochs),
        lambda: Recipe(schedule="step", epochs=epochs, milestones=(10, epochs)),
        lambda: recipe_from_dict({"epochs": epochs}, PAPER),
    ):
        with pytest.raises(ValueError, match=rf"milestones = .* received for {epochs} epochs, which end before"):
            make()


@pytest.mark.parametrize(
    ("epochs", "instead"), [(250, "[107, 179]"), (100, "[43, 71]"), (3, "[1, 2]"), (2, "earlier ones")]
)
def test_the_message_has_the_same_shares_where_they_are_inherited(epochs, instead, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--data_root", "nowhere"]
    assert main(["train", "cifar10-dr16", "--epochs", str(epochs), *out]) == 2
    assert f"; give {instead}" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text(f"base: cifar10-dr16\nepochs: {epochs}\n")
    with pytest.raises(ValueError, match=re.escape(f"; give {instead}")):
        find_recipe(str(tmp_path / "mine.yaml"))
    if instead.startswith("["):
        options = ["--epochs", str(epochs), "--milestones", instead.replace(" ", ""), "--print_recipe"]
        assert main(["train", "cifar10-dr16", *options]) == 0


@pytest.mark.parametrize("milestones", [(0, 100), (-3,), (100, 50), (50, 50)])
def test_milestones_that_do_not_rise_one_by_one_are_refused(milestones):
    with pytest.raises(ValueError, match=r"received; give epochs from 1 on, each once, in order"):
        replace(PAPER, milestones=milestones)


def test_what_comes_to_its_milestones_or_has_none_is_accepted():
    assert replace(PAPER, epochs=251).milestones == (150, 250)
    assert replace(PAPER, epochs=100, schedule="cosine").epochs == 100  # which does not look at them
    assert replace(PAPER, epochs=100, milestones=()).milestones == ()
    assert recipe_from_dict({"epochs": 100, "milestones": [50, 99]}, PAPER).milestones == (50, 99)
    for name in RECIPES:
        assert recipe_from_dict(find_recipe(name).to_dict()) == find_recipe(name)


def test_recipes_of_kept_runs_and_results_are_accepted():
    kept = [read_recipe(folder) for folder in (ROOT / "checkpoints").iterdir()]
    found = [json.loads(path.read_text()) for path in (ROOT / "results" / "cifar10").rglob("*.json")]
    kept += [recipe_from_dict(result["recipe"]) for result in found if "recipe" in result]
    assert {"step", "cosine"} == {recipe.schedule for recipe in kept}


def test_a_look_at_the_beginning_of_a_schedule_leaves_the_late_ones_out(tmp_path):
    start = shortened(PAPER, 200)
    assert (start.epochs, start.milestones) == (200, (150,))
    assert [learning_rate(start, at) for at in (0, 149.5, 199.5)] == [
        learning_rate(PAPER, at) for at in (0, 149.5, 199.5)
    ]  # fmt: skip
    options = ["--recipe", "cifar10-dr16", "--epochs", "1", "--batch_size", "32", "--train_images", "64"]
    options += ["--test_images", "32", "--figures", "false", "--out", str(tmp_path)]
    assert main(["analyze", "gradients", "dr_resnet_digits", "--dataset", "digits", *options]) == 0
