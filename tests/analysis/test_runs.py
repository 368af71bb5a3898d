"""What a run's folder tells of it: its classes, its surroundings and what was taken away."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from drnn.analysis.runs import distinct, num_classes_of, origin, trained_in
from drnn.training.recipe_fields import recipe_text
from drnn.training.run_folder import read_recipe


def test_a_log_of_other_data_needs_none_of_it(run, copied):
    """How many classes it has, its weights tell; of a run that has none yet, the data set analysed."""
    data = SimpleNamespace(classes=("a", "b"))
    other = copied(dataset="cifar10", data_root="nowhere", download=True)
    assert num_classes_of(other, data) == 10
    (other / "model.safetensors").unlink()
    assert num_classes_of(other, data) == 2


@pytest.mark.parametrize("name", ["summary.json", "environment.json", "card.json"])
@pytest.mark.parametrize("text", ["", "[]"])
def test_damaged_surroundings_are_named(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        trained_in(tmp_path)


def test_surroundings_that_are_not_told_are_unknown(tmp_path):
    assert trained_in(tmp_path) == {}
    (tmp_path / "card.json").write_text("{}")
    assert trained_in(tmp_path) == {"commit": None}


def test_names_are_told_apart():
    assert distinct(["a", "b (3)", "b", "b", "a"]) == ["a", "b (3)", "b", "b (4)", "a (5)"]
    assert distinct(["b", "b (3)", "b"]) == ["b", "b (3)", "b (3) (3)"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "dr_resnet_digits, digits, all training images, tested on held-out training images"),
        (
            {"gate": "open", "norm": "shared", "train_images": 500},
            "without gates, naive recursion, digits, 500 training",
        ),
        ({"gate": "open", "norm": "lvbn"}, "dr_resnet_digits without gates, LVBN, digits"),
    ],
)
def test_a_log_is_told_with_what_was_taken_away(run, tmp_path, changes, told):
    values = replace(read_recipe(run), **changes).to_dict()
    (tmp_path / "recipe.yaml").write_text(recipe_text(values))
    assert told in origin(tmp_path)
