"""What figures say and sign is what was measured; what cannot be analysed is refused before any work."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from drnn.analysis import Findings, Options, analyse_run
from drnn.analysis.curves import curves_from_rows
from drnn.analysis.figures import blocks, curves, images, loops
from drnn.analysis.findings import write_arrays
from drnn.analysis.gradients import Plan
from drnn.analysis.gradients.statistics import with_own_statistics
from drnn.analysis.loops import early_and_late
from drnn.analysis.runs import distinct, num_classes_of, origin, trained_in
from drnn.analysis.subject import load_others, load_subject
from drnn.cli.main import main
from drnn.models import create_model
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.training.run_folder import read_recipe, recipe_text

FACTS = {
    "run": "net-0", "model": "dr_resnet16_cifar", "weights": "bad24f0ad5aa", "dataset": "cifar10", "images": 40,
    "trained": {"commit": "aaa"}, "analysed": {"commit": "bbb"}, "left_out": {},
}  # fmt: skip


def test_an_evaluation_far_off_is_marked_where_training_is_no_better_than_guessing():
    rows = [
        {"epoch": 1, "train_loss": 3.0, "test_loss": 2.6},
        {"epoch": 2, "train_loss": 2.9, "test_loss": 5e11},
        {"epoch": 3, "train_loss": 2.9, "test_loss": float("nan")},
        {"epoch": 4, "train_loss": 2.0, "test_loss": 2.4},
        {"epoch": 5, "train_loss": 2.0, "test_loss": 2.1},
    ]
    assert curves_from_rows("net", rows, 10).apart.tolist() == [2, 3, 4]


def test_error_against_loops_quotes_images_on_either_side_of_the_median():
    table = {"images": np.array([10, 5, 60, 20, 5]), "wrong": np.array([1, 0, 6, 4, 2])}
    assert loops._ends(table) == ((1, 15), (6, 25))
    assert loops._ends({"images": np.array([1, 99]), "wrong": np.array([0, 3])}) is None  # nobody has more


def test_captions_of_the_gallery_do_not_overlap():
    names = ["airplane", "automobile"]
    answers = {"labels": np.repeat([0, 1], 5), "predicted": np.repeat([1, 0], 5), "loops": np.full(10, 4)}
    rows, pixels = np.arange(10).reshape(2, 5), np.zeros((2, 5, 3, 8, 8), np.uint8)
    findings = Findings({**FACTS, "classes": names}, {"gallery": {"hardest": rows, "hardest_pixels": pixels},
                                                      "answers": answers})  # fmt: skip
    figure = images.gallery("hardest", findings).figure
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for row in (boxes[:5], boxes[5:]):
        assert all(left.x1 < right.x0 for left, right in pairwise(row))
    assert boxes[5].y1 < boxes[0].y0


def test_each_log_of_figure_6_is_signed_by_itself():
    columns = {name: np.array([0.5]) for name in ("train_error", "test_error")} | {"epoch": np.array([1])}
    marks = {
        "net-0": {"apart": [], "diverged": [], "from": "dr_resnet16_cifar, commit aaa"},
        "naive-0": {"apart": [], "diverged": [], "from": f"{'held-out training images ' * 5}, commit ccc"},
    }
    findings = Findings({**FACTS, "curves": marks}, {f"curves_{name}": columns for name in marks})
    figure = curves.curves(findings).figure
    assert f"naive-0: {marks['naive-0']['from']} analysed" in " ".join(figure.get_supxlabel().split())
    assert "bad24f0ad5aa" not in figure.get_supxlabel()
    figure.draw_without_rendering()
    (signature,) = [text for text in figure.texts if "naive-0" in text.get_text()]
    assert signature.get_window_extent().x1 < figure.bbox.x1


def test_figure_7_is_signed_with_training_images_and_says_where_nobody_left():
    table = {}
    for block, left in (("block0", 0.5), ("block1", np.nan)):
        for group, value in (("executed", 1.0), ("skipped", left)):
            table[f"{block}.bn2.{group}_mean"] = np.full((2, 3), value)
            table[f"{block}.bn2.{group}_var"] = np.full((2, 3), value)
    picture = blocks.norms(Findings(FACTS, {"norms": table}))
    assert "statistics of its training images" in picture.figure.get_supxlabel()
    assert "standard deviations apart and nowhere, since nobody left there" in picture.says
    only = blocks.norms(Findings(FACTS, {"norms": {key: table[key] for key in table if key.startswith("block0")}}))
    assert [axes.get_title() for axes in only.figure.axes] == ["block 0, bn2: mean", "block 0, bn2: var"]
    assert "of the only recursive block. The means lie 0.50 standard deviations apart, root" in only.says


def test_early_and_late_are_told_by_their_loops():
    loops, wrong = np.repeat([1, 4], [4, 6]), np.zeros(10, bool)  # the median is the most
    tables = {"early_and_late": early_and_late(loops, np.full(10, 0.9), wrong)}
    assert "Early (at most 1 loop): 4 images, accuracy 100.00%" in blocks.early(Findings(FACTS, tables)).says


def test_the_calibration_interval_holds_the_error_and_is_not_shifted_above_it():
    generator = np.random.default_rng(0)
    low, inside, trials = 0, 0, 20
    for _ in range(trials):
        confidence = generator.uniform(0.2, 1, 300)
        wrong = generator.random(300) > confidence  # perfectly calibrated
        table = early_and_late(np.zeros(300), confidence, wrong)
        low += table["ece_low"][0] <= 0.02
        inside += table["ece_low"][0] <= table["ece"][0] <= table["ece_high"][0]
    assert inside == trials
    assert low > trials / 2


def test_own_statistics_stay_on_the_networks_device_and_precision():
    naive = create_model("r_resnet53_naive", stem="cifar", width=8, blocks=(1, 2), loops=(1, 2)).double()
    twin = with_own_statistics(naive)
    assert {value.dtype for value in twin.state_dict().values() if value.is_floating_point()} == {torch.float64}
    if torch.cuda.is_available():
        assert next(with_own_statistics(naive.cuda()).parameters()).is_cuda


def test_arrays_of_an_earlier_analysis_are_removed_and_nobody_elses(tmp_path):
    own = [tmp_path / "arrays" / name for name in ("norms.npz", "mine.npz", "mine.csv")]
    own[0].parent.mkdir()
    for path in own:
        path.write_text("mine")
    (tmp_path / "facts.json").write_text('{"files": "norms.npz"}')  # of no analysis
    Findings(FACTS, {"answers": {"b": np.zeros(2)}}).save(tmp_path)
    assert [path.read_text() for path in own] == ["mine"] * 3
    Findings(FACTS, {"norms": {"a": np.zeros(2)}, "answers": {"b": np.zeros((2, 2))}}).save(tmp_path)
    assert {path.name for path in (tmp_path / "arrays").iterdir()} == {
        "mine.npz", "mine.csv", "norms.npz", "norms.csv", "answers.npz",
    }  # fmt: skip
    Findings(FACTS, {"answers": {"b": np.ones(2)}}).save(tmp_path)
    assert {path.name for path in (tmp_path / "arrays").iterdir()} == {
        "mine.npz", "mine.csv", "answers.npz", "answers.csv",
    }  # fmt: skip
    found = Findings.load(tmp_path)
    assert (found.facts, set(found.tables)) == (FACTS, {"answers"})


def test_an_analysis_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    Findings(FACTS, {"norms": {"a": np.zeros(2)}}).save(tmp_path)
    with pytest.raises(ValueError, match="array 'b' of Python objects received"):
        Findings(FACTS, {"answers": {"a": np.ones(2), "b": np.array([{}])}}).save(tmp_path)
    assert set(Findings.load(tmp_path).tables) == {"norms"}


def test_an_npz_holds_its_arrays_alone(tmp_path, monkeypatch):
    def older(file, **arrays):  # than numpy 2.2, where every keyword is an array
        save(file, **{name: np.asarray(values) for name, values in arrays.items()})
        names.extend(arrays)

    save, names = np.savez_compressed, []
    monkeypatch.setattr(np, "savez_compressed", older)
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(2)})
    assert names == ["a"]


@pytest.mark.parametrize("text", ["", "[]", '{"run": "net-0"}', '{"files": [1]}'])
def test_facts_that_list_no_arrays_are_named(text, tmp_path):
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(ValueError, match=r"facts.json is damaged, or lists no files; make it again with drnn analyze"):
        Findings.load(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "net"
    recipe = replace(find_recipe("digits"), epochs=1, held_out=1000, batch_size=99, threads=1, warmup_epochs=0)
    train(recipe, folder, progress=False)
    return folder


def test_what_cannot_be_analysed_is_refused_before_any_work(run, monkeypatch):
    monkeypatch.setattr("drnn.analysis.subject.Subject.ask", lambda *_: pytest.fail("asked before all was checked"))
    with pytest.raises(ValueError, match="net received twice"):
        analyse_run(run, [run])
    with pytest.raises(FileNotFoundError, match="nowhere has no"):
        analyse_run(run, [], Options(logs=(run.parent / "nowhere",)))
    with pytest.raises(ValueError, match="images -1 and course_epochs 0 received"):
        Options(images=-1)
    with pytest.raises(ValueError, match="measure_every 0 received"):
        Plan(find_recipe("digits"), 0)


@pytest.fixture
def copied(run, tmp_path):
    """The run again, with changes to its recipe."""

    def copy(**changes):
        folder = shutil.copytree(run, tmp_path / "copied", dirs_exist_ok=True)
        (folder / "recipe.yaml").write_text(recipe_text(replace(read_recipe(run), **changes).to_dict()))
        return folder

    return copy


def test_a_log_of_other_data_needs_none_of_it(run, copied):
    """How many classes it has, its weights tell; of a run that has none yet, the data set analysed."""
    data = SimpleNamespace(classes=("a", "b"))
    other = copied(dataset="cifar10", data_root="nowhere", download=True)
    assert num_classes_of(other, data) == 10
    (other / "model.safetensors").unlink()
    assert num_classes_of(other, data) == 2


def test_other_runs_are_checked_before_any_work(run, copied, monkeypatch):
    monkeypatch.setattr("drnn.analysis.subject.Subject.ask", lambda *_: pytest.fail("asked before all was checked"))
    with pytest.raises(ValueError, match="batch_size 99 received for 50 training images"):
        analyse_run(copied(train_images=50), [], Options(course_epochs=1))
    other = copied(seed=1, name="other", threads=2, lr=0.5)  # another recipe for the same network is none of them
    (other / "summary.json").write_text("")
    with pytest.raises(ValueError, match=r"copied.summary.json is damaged"):
        analyse_run(run, [other])
    (other / "summary.json").write_text(json.dumps({}))
    assert len(load_others([other], *load_subject(run, Options()), Options())) == 1

    def elsewhere(folder, data_root):
        model, recipe, dataset = load_run(folder, data_root)
        return model, recipe, replace(dataset, test_images=255 - dataset.test_images) if folder == other else dataset

    monkeypatch.setattr("drnn.analysis.subject.load_run", elsewhere)
    with pytest.raises(ValueError, match="copied was tested on other images"):
        analyse_run(run, [other])

    def of_another_network(folder, data_root):
        model, recipe, dataset = load_run(folder, data_root)
        return model, replace(recipe, model="dr_resnet16_cifar") if folder == other else recipe, dataset

    monkeypatch.setattr("drnn.analysis.subject.load_run", of_another_network)
    with pytest.raises(ValueError, match=r"copied is a run of dr_resnet16_cifar; give runs of dr_resnet_digits"):
        analyse_run(run, [other])


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


def test_gated_networks_that_do_not_loop_are_refused(run, monkeypatch):
    def aig(folder, options):
        subject, recipe = load(folder, options)
        return subject, replace(recipe, model="aig_resnet110_cifar")

    from drnn.analysis import runs

    load = runs.load_subject
    monkeypatch.setattr(runs, "load_subject", aig)
    with pytest.raises(ValueError, match="has no block that loops"):
        analyse_run(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gradients", "dr_resnet16_cifar", "--epochs", "2"], "without --dataset"),
        (["gradients", "dr_resnet16_cifar", "--measure_every", "0"], "measure_every 0 received"),
        (["runs/none", "--device", "nonsense"], "'nonsense' is not usable here"),
        (["runs/none", "--course_epochs", "-2"], "course_epochs -2 received"),
    ],
)
def test_bad_options_get_one_line(arguments, message, capsys):
    assert main(["analyze", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["runs/none"], ["gradients", "dr_resnet16_cifar"]])
def test_the_command_looks_where_it_shall_write_and_draw_before_it_works(arguments, tmp_path, monkeypatch, capsys):
    for work in ("analyse_run", "study"):
        monkeypatch.setattr(f"drnn.cli.analyze.{work}", lambda *_: pytest.fail("worked before all was checked"))
    (tmp_path / "figures").touch()
    assert main(["analyze", *arguments, "--out", str(tmp_path / "figures")]) == 2
    assert "figures is no folder; name another place" in capsys.readouterr().err
    assert main(["analyze", *arguments, "--out", str(tmp_path)]) == 2
    assert "figures is no folder; name another place" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["analyze", *arguments, "--out", str(tmp_path / "new")]) == 2
    assert "a picture needs matplotlib: pip install 'drnn[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
