"""Schedules, training runs and what they leave on disk."""

import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from drnn.cli.main import main
from drnn.storage import write_atomically, write_text
from drnn.training import evaluate, find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.schedule import cosine_lr, learning_rate, rate_weight, step_lr
from drnn.training.state import load_state

TINY = replace(find_recipe("digits"), epochs=1, batch_size=128, held_out=1000, threads=1, warmup_epochs=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, train(TINY, folder, progress=False)


def test_step_schedule_equals_torchs():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    for epoch in range(8):
        assert step_lr(epoch, 0.1, (3, 5)) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_the_rate_losss_weight_warms_up():
    recipe = replace(TINY, rate_weight=2.0, rate_warmup_epochs=4)
    assert [rate_weight(recipe, epoch) for epoch in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert rate_weight(replace(recipe, rate_warmup_epochs=0), 0) == 2


def test_cosine_schedule_has_its_limits():
    assert cosine_lr(0, 0.1, 10, 0) == 0.1
    recipe = replace(TINY, epochs=2, schedule="step", milestones=(1,), lr=0.2)
    assert [round(learning_rate(recipe, e), 6) for e in (0, 1)] == [0.2, 0.02]


def test_a_run_leaves_everything_it_was(run):
    folder, summary = run
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "checkpoints", "data.json", "environment.json", "metrics.jsonl", "model.safetensors", "recipe.yaml",
        "summary.json",
    ]  # fmt: skip
    assert recipe_from_dict(yaml.safe_load((folder / "recipe.yaml").read_text())) == TINY
    (line,) = (folder / "metrics.jsonl").read_text().splitlines()
    metrics = json.loads(line)
    assert len(metrics["executed_rates"]) == 6
    assert 1 - metrics["test_error"] == pytest.approx(summary["acc1"])
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert json.loads((folder / "environment.json").read_text())["torch"] == torch.__version__


def test_a_run_loads_as_it_was_saved(run):
    folder, summary = run
    model, recipe, dataset = load_run(folder)
    result = evaluate(model, dataset.test_images, dataset.test_labels, load_run(folder).normalize, 64)
    assert recipe == TINY
    assert result.acc1 == summary["acc1"]
    assert result.summary()["macs_mean"] == summary["macs_mean"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(run, tmp_path):
    same = train(TINY, tmp_path / "same", progress=False)
    other = train(replace(TINY, seed=1), tmp_path / "other", progress=False)
    bits = [(folder / "model.safetensors").read_bytes() for folder in (run[0], tmp_path / "same", tmp_path / "other")]
    assert bits[0] == bits[1] != bits[2]
    assert same["loss"] == run[1]["loss"] != other["loss"]


def test_a_run_of_another_recipe_is_not_overwritten_unasked(run, tmp_path):
    folder, summary = run
    with pytest.raises(FileExistsError, match=r"another recipe \(lr 0\.05 there, 0\.2 asked\); add --overwrite"):
        train(replace(TINY, lr=0.2), folder, progress=False)
    assert train(replace(TINY, device="cpu"), folder, progress=False) == summary  # finished: nothing to do
    note = tmp_path / "r" / "note.txt"
    train(TINY, note.parent, progress=False)
    note.write_text("mine")
    train(TINY, note.parent, overwrite=True, progress=False)
    assert note.read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": 20, "padding_mode": "reflect"}, "padding 20 received for images of 8 x 8; a reflected border is"),
        ({"model": "resnet_digits"}, r"leave it out\. The recipe gives target_rate 0\.6; null leaves a field out"),
        ({"model": "rcnn160_cifar"}, r"no field target_rate; .*\. The recipe gives target_rate 0\.6; null leaves a"),
        (
            {"gate": "open", "gate_noise": "training"},
            r"The recipe gives target_rate 0\.6, gate_noise 'training', gate 'open'",
        ),
        ({"gate": "open", "target_rate": None, "model": "resnet_digits"}, "gate 'open' received; no block of this "),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder_behind(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(replace(find_recipe("digits"), epochs=1, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match="try a lower --lr"):
        train(replace(TINY, lr=1e30, epochs=3, warmup_epochs=0), tmp_path / "nan", progress=False)
    assert (tmp_path / "nan" / "recipe.yaml").exists()
    state = load_state(tmp_path / "nan")
    assert state is None or all(value.isfinite().all() for value in state["model"].values())
    assert not (tmp_path / "nan" / "model.safetensors").exists()


def cast(path, name, kind):
    weights = load_file(path)
    save_file({**weights, name: weights[name].to(kind)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04 not a tensor"), "is damaged or no file of weights"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors; give the folder of a finished run"),
        (lambda f: cast(f / "model.safetensors", "conv1.weight", torch.int8), r"kind of number, first \['conv1.wei"),
        (lambda f: (f / "recipe.yaml").write_text("[1, 2"), r"recipe\.yaml is damaged"),
        (lambda f: (f / "recipe.yaml").write_text("model: dr_resnet_digit\n"), "did you mean dr_resnet_digits"),
        (lambda f: (f / "recipe.yaml").write_text("model: resnet_digits\n"), "does not fit resnet_digits"),
        (lambda f: (f / "recipe.yaml").write_text("modle: x\n"), "did you mean 'model'"),
    ],
)
def test_damaged_runs_are_named(run, tmp_path, damage, message):
    folder = shutil.copytree(run[0], tmp_path / "copy")
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_run(folder)


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes here")
def test_files_may_be_read_by_whom_the_umask_says_whatever_writes_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "weights", lambda part: save_file({"x": torch.ones(1)}, part))
        write_text(tmp_path / "text", "text")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o640}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")

    def fail(part: Path):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("kept", "old")]


def test_the_name_of_a_recipe_names_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ["--epochs", "1", "--warmup_epochs", "0.5", "--train_images", "200", "--threads", "1", "--quiet"]
    assert main(["train", "digits", "--name", "other", *short]) == 0
    assert (tmp_path / "runs/other/summary.json").is_file()
    assert not (tmp_path / "runs/digits").exists()


def test_a_norm_needs_two_images_a_backward_pass(tmp_path):
    with pytest.raises(ValueError, match="batch_size 4 received for 1 processes and 4 backward passes each"):
        train(replace(TINY, batch_size=4, accumulate=4), tmp_path / "run", progress=False)
