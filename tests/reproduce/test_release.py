"""Releases: a run to give away is a run and a network for everybody, and replaces an earlier one whole or not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import drnn
from drnn.analysis.runs import trained_in
from drnn.cli.main import main
from drnn.reproduce import Job, result_of
from drnn.storage import write_json
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import read_recipe

TINY = {"epochs": 2, "batch_size": 128, "train_images": 300, "threads": 1, "device": "cpu", "ema_decay": 0.5}


def trained(root: Path, seed: int) -> Path:
    """The folder of a finished run of the digits, its result beside it."""
    changes = {**TINY, "seed": seed}
    recipe, folder = recipe_from_dict(changes, find_recipe("digits")), root / f"run-{seed}"
    train(recipe, folder, progress=False)
    write_json(root / f"{seed}.json", result_of(Job("dr_resnet16", "short", recipe, "digits", changes, folder, root)))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs and their results."""
    root = tmp_path_factory.mktemp("made")
    return [trained(root, seed) for seed in (0, 1)]


@pytest.fixture
def runs(made, tmp_path):
    """The same, to spoil."""
    return [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in made]


def contents(folder: Path) -> dict:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_release_is_a_run_and_a_network_for_everybody(made, tmp_path, capsys):
    run, folder = made[0], tmp_path / "net"
    assert main(["release", str(run), str(folder)]) == 0
    result = json.loads((run.parent / "0.json").read_text())
    assert f"test error {result['error']:.2%} (n = 1)" in capsys.readouterr().out
    card = json.loads((folder / "card.json").read_text())
    assert (card["error"], card["mean_macs"]) == ([result["error"]], result["macs_mean"])
    assert card["loops_histogram"] == result["loops_histogram"]
    assert card["commit"] == json.loads((run / "environment.json").read_text())["commit"]
    assert trained_in(folder)["commit"] == card["commit"]  # as an analysis of the release states it
    here = read_recipe(folder)
    assert (here.model, here.epochs, here.device, here.data_root) == ("dr_resnet_digits", 2, "auto", "data")
    assert here.threads == 0  # a matter of the machine that trained it
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(drnn.from_pretrained(folder)(x), load_run(run)[0](x))
    assert main(["eval", str(folder), "--json"]) == 0  # as a run
    assert 1 - json.loads(capsys.readouterr().out)["acc1"] == result["error"]
    assert not (folder / "checkpoints").exists()
    assert main(["release", str(run), str(run)]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_what_is_opened_as_a_run_has_the_thresholds_it_was_saved_with(made, tmp_path, capsys):
    """So that the accuracy that drnn eval tells is that of the network that drnn predict and export use."""
    folder = tmp_path / "net"
    assert main(["release", str(made[0]), str(folder)]) == 0
    config = json.loads((folder / "config.json").read_text())
    config["thresholds"] = ["inf"] * len(config["thresholds"])
    (folder / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["eval", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_loops"] == 0
    config["thresholds"] = ["inf"]
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["eval", str(folder)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_released_network_answers_without_its_data(made, tmp_path, capsys):
    run, folder = made[0], tmp_path / "net"
    assert main(["release", str(run), str(folder)]) == 0
    (folder / "recipe.yaml").unlink()  # and with it every way to the data
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    capsys.readouterr()
    said = []
    for source in (run, folder):
        assert main(["predict", str(source), str(tmp_path / "grey.png"), "--format", "json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]


def test_a_release_keeps_nothing_of_an_earlier_one(runs, tmp_path):
    run, folder = runs[0], tmp_path / "net"
    assert main(["release", str(run), str(folder)]) == 0
    (folder / "budget.json").write_text("{}")
    (folder / "LICENSE").write_text("the user's own")
    for name in ("model-ema.safetensors", "metrics.jsonl"):
        assert (folder / name).is_file()
        (run / name).unlink()
    assert main(["release", str(run), str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "LICENSE", "README.md", "card.json", "config.json", "data.json", "model.safetensors", "recipe.yaml",
    ]  # fmt: skip


def test_a_budget_goes_along_for_the_released_weights(runs, tmp_path, capsys):
    pytest.importorskip("onnx", reason="the extra export is not installed")
    run, folder, other = str(runs[0]), str(tmp_path / "net"), str(runs[1])
    assert main(["calibrate", run, "--macs", "0.8", "--images", "300"]) == 0
    assert main(["release", run, folder]) == 0
    capsys.readouterr()
    said = []
    for source in (run, folder):
        assert main(["eval", source, "--budget", "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out)["acc1"])
        assert main(["export", source, str(tmp_path / "net.onnx"), "--budget"]) == 0
        capsys.readouterr()
    assert said[0] == said[1]
    ours, released = (json.loads((Path(source) / "budget.json").read_text()) for source in (run, folder))
    assert ours["environment"].pop("command")
    assert {**released, "weights_sha256": 0} == {**ours, "weights_sha256": 0}

    shutil.copy(runs[0] / "budget.json", runs[1])
    assert main(["release", other, folder]) == 0
    assert "budget.json of" in capsys.readouterr().out
    assert not (tmp_path / "net/budget.json").exists()


def test_the_average_of_the_weights_can_be_given_away(runs, tmp_path, capsys):
    run, folder = runs[0], tmp_path / "net"
    assert main(["calibrate", str(run), "--macs", "0.9"]) == 0
    assert main(["release", str(run), str(folder), "--average"]) == 0
    said = capsys.readouterr().out
    assert "budget.json of" in said  # it was found for the last weights
    assert "a moving average" in said
    average, last = load_run(run, average=True).model, load_run(run).model
    ours = drnn.from_pretrained(folder)
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in average.state_dict().items())
    assert not all(torch.equal(value, ours.state_dict()[name]) for name, value in last.state_dict().items())
    card, error = json.loads((folder / "card.json").read_text()), json.loads((run / "summary.json").read_text())["ema"]
    assert card["error"] == [1 - error["acc1"]]
    assert card["recipe"].endswith("moving average of the weights")
    assert {file.name for file in folder.iterdir()}.isdisjoint({"model-ema.safetensors", "budget.json"})
    assert not (folder / "metrics.jsonl").exists()  # its errors are of the last weights
    assert main(["eval", str(folder)]) == 0
    assert f"test accuracy {error['acc1']:.2%}" in capsys.readouterr().out
    assert main(["eval", str(run), "--average", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["average"], shown["budget"], shown["tested_on"]) == (True, False, "test images")
    assert main(["calibrate", str(folder), "--macs", "0.9"]) == 0
    assert main(["eval", str(folder), "--average"]) == 2
    assert "leave --average out" in capsys.readouterr().err


def test_a_release_is_neither_trained_over_nor_released_again(made, tmp_path, capsys):
    folder = tmp_path / "net"
    assert main(["release", str(made[0]), str(folder)]) == 0
    before = contents(folder)
    for more in ([], ["--overwrite"], ["--resume"]):
        assert main(["train", str(folder / "recipe.yaml"), "--out", str(folder), "--quiet", *more]) == 2
        assert "choose another --out" in capsys.readouterr().err
        assert contents(folder) == before
    assert main(["release", str(folder), str(tmp_path / "again")]) == 2
    assert "give the run that it was made of" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_run_without_an_average_has_none_to_give_away(runs, tmp_path, capsys):
    (runs[0] / "model-ema.safetensors").unlink()
    assert main(["release", str(runs[0]), str(tmp_path / "net"), "--average"]) == 2
    assert "model-ema.safetensors: it kept no moving average" in capsys.readouterr().err
    (runs[0] / "model.safetensors").unlink()
    assert main(["release", str(runs[0]), str(tmp_path / "net"), "--average"]) == 2
    assert "give the folder of a finished run" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("written", range(7))
def test_a_full_disk_leaves_an_earlier_release_whole(written, made, tmp_path, fill_disk, capsys):
    folder = tmp_path / "net"
    assert main(["release", str(made[0]), str(folder)]) == 0
    (folder / "budget.json").write_text("{}")
    before, disk = contents(folder), fill_disk(written)
    assert main(["release", str(made[1]), str(folder)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert contents(folder) == before
    disk.undo()
    assert main(["release", str(made[1]), str(folder)]) == 0
    assert contents(folder).keys() == before.keys() - {"budget.json"}
    assert "seed 1" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kept", ["environment.json", "summary.json", "checkpoints"])
def test_a_release_does_not_overwrite_a_run(kept, runs, capsys):
    run, other = runs
    for name in {"environment.json", "summary.json", "checkpoints"} - {kept}:
        path = other / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    assert main(["release", str(run), str(other)]) == 2
    assert f"it is a run ({kept} is there); choose another" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_a_place_that_cannot_be_written_is_told_before_the_run_is_evaluated(place, runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr("drnn.reproduce.release.evaluate_source", lambda *_: pytest.fail("evaluated"))
    assert main(["release", str(runs[0]), str(tmp_path / place)]) == 2
    assert "file is no folder; name another place" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["budget.json", "card.json", "config.json", "model-ema.safetensors"])
def test_files_of_somebody_else_are_neither_replaced_nor_removed(name, made, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("{}")
    assert main(["release", str(made[0]), str(folder)]) == 2
    assert f"{name} is there, and is of no release" in capsys.readouterr().err
    assert contents(folder) == {name: b"{}"}


def test_a_release_needs_a_name(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["release", str(made[0]), ""]) == 2
    assert "name the folder to write" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
