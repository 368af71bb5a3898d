"""What is there before a run begins: results and runs that are the very ones asked for stay, others are refused."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from drnn.reproduce import ablation, run_jobs, table1
from drnn.reproduce.plan import VARIANTS
from drnn.reproduce.runner import standing
from drnn.training.run_folder import INITIAL, MOVABLE

sys.path.insert(0, str(Path(__file__).parent))
from experiment import job

RESULTS = Path(__file__).parents[2] / "results/cifar10"


def test_two_jobs_for_one_folder_are_refused(tmp_path):
    first, second = job(tmp_path, "one"), job(tmp_path, "two")
    with pytest.raises(ValueError, match=r"two jobs for .*one\.json received"):
        run_jobs([first, first], 1)
    with pytest.raises(ValueError, match=r"two jobs for .*runs/one received"):
        run_jobs([first, replace(second, folder=first.folder)], 1)
    assert not first.folder.exists()


def result_for(each, **changes) -> dict:
    recipe = each.recipe.to_dict()
    kept = {key: recipe[key] for key in recipe if key not in MOVABLE}
    shipped = json.loads((RESULTS / "short/dr_resnet16-0.json").read_text())
    named = {"row": each.row, "label": each.label, "seed": each.recipe.seed, "model": each.recipe.model}
    return {**shipped, **named, "recipe": {**kept, **changes}}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda there: {**there, "row": "resnet20"}, "another run: row 'resnet20' there, 'dr_resnet16' asked"),
        (lambda there: {**there, "label": "modern"}, "another run: label 'modern' there, 'short' asked"),
        (lambda there: {**there, "seed": 7}, "another run: seed 7 there, 0 asked"),
        (lambda there: {**there, "recipe": {**there["recipe"], "lr": 0.5}}, "another run: lr 0.5 there, 0.05 asked"),
        (lambda there: [], "is no result of drnn reproduce"),
        (lambda there: {"row": "dr_resnet16"}, "is no result of drnn reproduce"),
        (lambda there: {**there, "error": None}, "is no result of drnn reproduce"),
    ],
)
def test_a_result_of_another_run_is_refused_before_anything_begins(spoil, says, tmp_path):
    there, before = job(tmp_path, "there"), job(tmp_path, "before")
    there.file.parent.mkdir()
    there.file.write_text(json.dumps(spoil(result_for(there))))
    with pytest.raises(ValueError, match=f"(?s)there.json .*{says}.*; remove the file .* or choose another --results"):
        run_jobs([before, there], 1)
    assert not before.folder.exists()
    text, accepted = standing(there)
    assert says in text
    assert not accepted


def test_a_result_may_have_other_threads_and_fields_that_came_later(tmp_path):
    there = job(tmp_path, "there")
    there.file.parent.mkdir()
    result = result_for(there, threads=5)
    del result["recipe"]["padding_mode"]
    there.file.write_text(json.dumps(result))
    assert [each.state for each in run_jobs([there], 1)] == ["finished"]


def test_the_results_that_are_shipped_are_of_the_plan():
    """Old labels and files stay valid."""
    none, kept = Path("/nowhere"), {"threads": 1}
    small = {**kept, "cutout": 0, "padding_mode": "reflect"}
    few, parts = {"epochs": 40, "train_images": 10000}, {"epochs": 10, "train_images": 10000}
    jobs = [
        *table1(["resnet20", "dr_resnet16"], "paper", [0], kept, none, RESULTS),
        *table1(["resnet20", "dr_resnet16"], "short", [0, 1], kept, none, RESULTS),
        *table1(["resnet20", "dr_resnet16"], "short", [0], {**kept, "epochs": 12, "cutout": 0}, none, RESULTS),
        *table1(["resnet20", "dr_resnet16", "resnet16"], "short", [0], {**small, "epochs": 12}, none, RESULTS),
        *table1(["dr_resnet16", "resnet16"], "short", [0], {**small, **few}, none, RESULTS),
        *ablation("dr_resnet16", "short", [0], {**kept, **parts}, none, RESULTS),
    ]  # fmt: skip
    assert {each.file: standing(each) for each in jobs} == {each.file: ("there", True) for each in jobs}
    assert len(jobs) == 13 + len(VARIANTS)


def test_a_run_of_another_recipe_in_the_folder_is_refused_with_advice_that_helps(tmp_path):
    assert run_jobs([job(tmp_path, "x")], 1)[0].state == "finished"
    other = job(tmp_path, "x", epochs=2)
    other.file.unlink()
    lines: list[str] = []
    assert run_jobs([other], 1, report=lines.append)[0].state == "failed"
    assert "holds a run of another recipe (epochs 1 there, 2 asked); remove the folder" in lines[-1]
    assert "--overwrite" not in lines[-1]
    assert "--out" not in lines[-1]
    assert standing(other)[1] is False


@pytest.fixture
def begun(tmp_path):
    """Two jobs that begin from one file of weights; the first has its result."""
    (tmp_path / "start.safetensors").write_bytes(b"some weights")
    jobs = [job(tmp_path, name, initial_weights=str(tmp_path / "start.safetensors")) for name in ("first", "second")]
    sha256 = hashlib.sha256(b"some weights").hexdigest()
    jobs[0].file.parent.mkdir()
    jobs[0].file.write_text(json.dumps({**result_for(jobs[0]), "trained_on": [{INITIAL: sha256}]}))
    return jobs


def test_runs_that_begin_from_the_same_weights_go_together(begun):
    assert [standing(each) for each in begun] == [("there", True), ("after 0 of 1 epochs", True)]


def test_other_weights_at_the_same_place_are_refused_before_anything_begins(begun):
    first, second = begun
    Path(first.recipe.initial_weights).write_bytes(b"other weights")
    with pytest.raises(
        ValueError, match=r"first\.json is the result of another run: initial_weights of SHA-256 \w+ there"
    ):
        run_jobs([first], 1)
    with pytest.raises(
        ValueError, match=r"first\.json began from weights of \w+; .* choose another --runs and --results"
    ):
        run_jobs([second], 1)
    assert not standing(second)[1]
    assert not second.folder.exists()


def test_a_result_stands_where_the_weights_are_gone_and_nothing_new_begins(begun):
    first, second = begun
    Path(first.recipe.initial_weights).unlink()
    assert standing(first) == ("there", True)
    with pytest.raises(FileNotFoundError, match=r"initial_weights .* received; there is no file"):
        run_jobs([first, second], 1)
    assert not second.folder.exists()
