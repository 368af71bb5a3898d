"""Studies of gradients: courses of all variants on few images, kept as they end."""

from dataclasses import replace

import pytest

from drnn.analysis import Options, analyse_run
from drnn.analysis.figures.curves import course_curves
from drnn.analysis.gradients import (
    Plan,
    at_start,
    first_images,
    follow,
    load_study,
    save_study,
    study,
)
from drnn.analysis.gradients.study import noise_dataset
from drnn.cli.analyze import gradients
from drnn.data import load_dataset
from drnn.training import find_recipe


@pytest.mark.parametrize("counts", [(-5, 0), (0, -5)])
def test_fewer_images_than_none_are_refused(counts):
    with pytest.raises(ValueError, match=f"{counts[0]} training and {counts[1]} test images received"):
        first_images(load_dataset("digits"), *counts)


def test_a_study_trains_measures_and_is_kept(tmp_path):
    recipe = replace(find_recipe("digits"), epochs=1, threads=1, warmup_epochs=0)
    dataset = first_images(load_dataset("digits"), 256, 100)
    plan = Plan(recipe, 2, {"width": 8})
    courses = list(study(plan, dataset))
    assert courses[0].loss[0] == courses[1].loss[0] != courses[2].loss[0]  # one theorem again, one seed
    assert courses[0].loss[-1] != courses[1].loss[-1]
    assert [set(course.epochs[0]["errors"]) - {"running", "batch", "recalibrated"} for course in courses] == [
        {"own"}, {"mixed"}, set(),
    ]  # fmt: skip
    save_study(tmp_path, plan, dataset, courses)
    facts, arrays = load_study(tmp_path)
    assert arrays["naive/steps"].tolist() == [0, 2]
    assert arrays["unrolled/input_gradient"].shape == (2, 6)
    assert facts["variants"]["lvbn"]["epochs"] == courses[1].epochs
    with pytest.raises(FileNotFoundError, match="drnn analyze gradients"):
        load_study(tmp_path / "none")
    facts["variants"]["naive"]["epochs"] = [  # as if it had come apart in its second epoch
        {"epoch": 1, "train_loss": 2.0, "test_loss": 2.1, "train_error": 0.7, "test_error": 0.7},
        {"epoch": 2, "train_loss": 1.9, "test_loss": 9.9, "train_error": 0.6, "test_error": 0.9},
    ]
    facts["variants"]["lvbn"]["epochs"] = []
    picture = course_curves(facts)
    assert [axes.get_title() for axes in picture.figure.axes] == ["naive", "unrolled"]
    assert "naive: evaluation worse than guessing at epochs 2" in picture.says
    drawn = picture.figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in drawn] == [[0.7, 0.6], [0.7, 0.9]]


def test_what_is_done_when_a_study_is_stopped_is_on_disk(tmp_path, monkeypatch):
    def stopped(*arguments):
        yield next(study(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr("drnn.cli.analyze.study", stopped)
    with pytest.raises(KeyboardInterrupt):
        gradients(["dr_resnet_digits", "--batch_size", "4", "--overrides", '{"width": 8}', "--out", str(tmp_path)])
    assert set(load_study(tmp_path)[0]["variants"]) == {"naive"}


def test_a_loss_that_is_not_finite_ends_the_course():
    recipe = replace(find_recipe("digits"), epochs=2, lr=1e30, warmup_epochs=0, nesterov=False)
    course = follow(Plan(recipe, 100, {"width": 8}), "naive", first_images(load_dataset("digits"), 256, 50))
    assert course.stopped is not None
    assert course.stopped == len(course.loss)


def test_initialisation_needs_no_data():
    dataset = noise_dataset("dr_resnet16_cifar", 8)
    course = at_start(Plan(replace(find_recipe("cifar10-dr16"), batch_size=8), overrides={"width": 4}), "lvbn", dataset)
    assert course.stack("gain").shape == (1, 4)
    assert (course.stack("input_gradient") > 0).all()


def test_a_course_of_a_run_is_of_networks_that_begin_as_they_are_and_have_no_gates(copied, monkeypatch):
    class Begun(Exception):
        """A course."""

    def begin(plan, *_, **__):
        plans.append(plan)
        raise Begun

    plans = []
    monkeypatch.setattr("drnn.analysis.runs.study", begin)
    for changes in ({"every_loop_weight": 2.0}, {"zero_init_loops": True}, {"initial_weights": "elsewhere"}):
        with pytest.raises(Begun):
            analyse_run(copied(**changes), options=Options(images=100))
    for plan in plans:
        given = plan.recipe.every_loop_weight, plan.recipe.zero_init_loops, plan.recipe.initial_weights
        assert given == (0.0, False, None)
