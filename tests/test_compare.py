"""Two runs on a data set whose images are decoded as they come: no more of them are read than are needed."""

from dataclasses import replace
from pathlib import Path

import pytest

from drnn.compare import compare_runs, markdown
from drnn.data import ALONE, load_dataset
from drnn.models import create_model
from drnn.training import Recipe
from drnn.training.checkpoint import LoadedRun


class Streamed:
    """A `Source` that gives its test images in batches alone, and counts them."""

    def __init__(self, dataset):
        self.name, self.classes, self.mean, self.std = dataset.name, dataset.classes, dataset.mean, dataset.std
        self.image_size, self.num_test = dataset.image_size, dataset.num_test
        self.dataset, self.read = dataset, 0

    def test_batches(self, batch_size, share=ALONE):
        for images, labels in self.dataset.test_batches(batch_size, share):
            self.read += len(images)
            yield images, labels


@pytest.fixture
def sides(monkeypatch):
    """What the folders "a" and "b" hold, to spoil: model, recipe, data set."""
    model, dataset = create_model("dr_resnet_digits", width=4).eval(), load_dataset("digits")
    made = {name: [model, Recipe(seed=seed), Streamed(dataset)] for seed, name in enumerate("ab")}
    monkeypatch.setattr("drnn.compare.load_run", lambda folder, data_root: LoadedRun(*made[folder.name]))
    return made


def compared(**options):
    return compare_runs(Path("a"), Path("b"), **{"batch_sizes": [1, 8], "rounds": 2, **options})


@pytest.mark.parametrize(("rounds", "timed"), [(2, 16), (10, 128), (80, None)])
def test_a_test_image_is_read_once_a_network_and_batches_to_time_once_more(sides, rounds, timed):
    result = compared(rounds=rounds)
    first, second = (side[2] for side in sides.values())
    assert result["test_images"] == result["runs"][0]["images"] == first.num_test
    assert second.read == first.num_test
    assert first.read == first.num_test + (timed or first.num_test)
    assert {time["rounds"] for time in result["time"].values()} == {rounds}


def test_images_of_other_places_are_compared_and_read_no_further_than_they_agree(sides):
    sides["b"][1] = replace(sides["b"][1], data_root="elsewhere")
    assert compared()["runs"][1]["seed"] == 1
    first, second = (side[2] for side in sides.values())
    images = second.dataset.test_images.clone()
    images[70] = 255 - images[70]
    second.dataset, first.read = replace(second.dataset, test_images=images), 0
    with pytest.raises(ValueError, match=r"different test images \(digits\); compare like with like"):
        compared()
    assert first.read == 128


def test_other_numbers_of_test_images_are_refused_unread(sides):
    second = sides["b"][2]
    sides["b"][1], second.num_test = replace(sides["b"][1], held_out=5), second.num_test - 1
    with pytest.raises(ValueError, match="different test images"):
        compared()
    assert second.read == 0


@pytest.mark.parametrize(("images", "timed"), [(599, ["1", "64"]), (20, ["1", "20"])])
def test_batches_that_nobody_asked_for_fit_the_images(sides, images, timed):
    for side in sides.values():
        data = side[2].dataset
        side[2] = Streamed(replace(data, test_images=data.test_images[:images], test_labels=data.test_labels[:images]))
    assert list(compared(batch_sizes=None)["time"]) == timed


def test_two_seeds_of_a_recipe_are_told_apart_by_their_folders(sides):
    heading = markdown(compared()).splitlines()[0]
    assert heading.split()[2:5] == ["a", "|", "b"]


def test_batches_of_more_than_all_test_images_are_refused(sides):
    with pytest.raises(ValueError, match="batch size 600 received; there are 599 test images"):
        compared(batch_sizes=[1, 600])


def test_the_difference_of_accuracies_is_that_of_the_same_images(sides):
    """Where both are right, or both wrong, nothing is learnt, so equal networks differ by nothing at all."""
    result = compared()
    found, (first, second) = result["accuracy_difference"], result["runs"]
    assert found["mean"] == pytest.approx(first["acc1"] - second["acc1"])
    sides["b"][0] = sides["a"][0]
    assert compared()["accuracy_difference"] == {"mean": 0, "low": 0, "high": 0}


def test_held_out_images_are_not_called_test_images(sides):
    for side in sides.values():
        side[1] = replace(side[1], held_out=1198)
    table = markdown(compared())
    assert "held-out training images" in table
    assert "test" not in table
