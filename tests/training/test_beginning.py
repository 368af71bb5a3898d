"""Runs that begin from trained weights."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import drnn
from drnn.models import create_model
from drnn.models.registry import MODELS
from drnn.training import find_recipe, train
from drnn.training.beginning import begin_from
from drnn.training.interrupt import Interrupted
from drnn.training.network import save_weights
from drnn.training.run_folder import AVERAGE, RECIPE, recipe_text, run_environment
from drnn.training.trainer import Run
from drnn.weights.files import WEIGHTS, fingerprint

SHORT = replace(find_recipe("digits"), epochs=1, train_images=300, warmup_epochs=0, threads=1, device="cpu")
STILL = replace(SHORT, lr=1e-12, name="still")  # what it ends with is what it began with


def run(recipe, folder: Path) -> dict:
    return train(recipe, folder, progress=False)


def weights(folder: Path, name: str = WEIGHTS) -> dict:
    """Parameters alone: running statistics move in training."""
    held = load_file(folder / name)
    return {key: value for key, value in held.items() if "running" not in key and "num_batches" not in key}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("first") / "first"
    run(SHORT, folder)
    return folder


def test_a_run_begins_from_another_and_says_which(first, tmp_path):
    run(replace(STILL, initial_weights=str(first), seed=7, ema_decay=0.5), tmp_path / "second")
    torch.testing.assert_close(weights(tmp_path / "second"), weights(first))
    torch.testing.assert_close(weights(tmp_path / "second", AVERAGE), weights(first))
    assert run_environment(tmp_path / "second")["initial_weights_sha256"] == fingerprint(first)
    assert "initial_weights_sha256" not in run_environment(first)


def test_saved_networks_and_files_are_beginnings_too(first, tmp_path):
    model = create_model("dr_resnet_digits")
    begin_from(model, str(first))
    drnn.save_pretrained(model, tmp_path / "saved")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "a.pth"
    )
    for place in (tmp_path / "saved", first / WEIGHTS, tmp_path / "a.pth"):
        other = create_model("dr_resnet_digits")
        assert begin_from(other, str(place)).fresh == ()
        torch.testing.assert_close(other.state_dict(), model.state_dict())


def test_gates_that_only_one_of_the_two_has_do_not_count(first, tmp_path, caplog):
    opened = replace(SHORT, gate="open", target_rate=None, name="open")
    run(opened, tmp_path / "open")
    with caplog.at_level(logging.INFO, logger="drnn"):
        run(replace(STILL, initial_weights=str(tmp_path / "open")), tmp_path / "gated")
    there, here = weights(tmp_path / "open"), weights(tmp_path / "gated")
    torch.testing.assert_close({name: here[name] for name in there}, there)
    assert all(".gate." in name for name in here.keys() - there.keys())
    assert here.keys() > there.keys()
    (said,) = [record.message for record in caplog.records if "begin fresh" in record.message]
    assert "layer2.1.gate.scorer.fc1, layer2.1.gate.scorer.fc2" in said
    fresh = create_model("dr_resnet_digits", gate=None, target_rate=None)
    assert begin_from(fresh, str(first)).fresh == ()


def test_other_classes_get_a_last_layer_of_their_own(first):
    torch.manual_seed(0)
    model = create_model("dr_resnet_digits", num_classes=4)
    head = model.fc.weight.clone()
    assert begin_from(model, str(first)).fresh == ("fc",)
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv1.weight, load_file(first / WEIGHTS)["conv1.weight"])


@pytest.mark.parametrize("name", ["resnet_digits", "dr_resnet16_cifar"])
def test_weights_of_another_network_are_refused(name, first):
    model = create_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"does not fit {name}: \d+ entries differ"):
        begin_from(model, str(first))
    torch.testing.assert_close(model.state_dict(), before)


def test_a_name_that_only_looks_like_a_gates_is_refused(first, tmp_path):
    save_file({**load_file(first / WEIGHTS), "layer9.gate.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"1 entries differ .*layer9\.gate\.weight"):
        begin_from(create_model("dr_resnet_digits"), str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["dr_resnet35", "resnet50"])
def test_a_saved_network_that_computes_otherwise_is_refused(name, tmp_path):
    """Strides change no shape, so the file of weights alone cannot tell."""
    fields = {"num_classes": 3, "width": 8}
    drnn.save_pretrained(create_model(name, stride_in_3x3=True, **fields), tmp_path)
    model = create_model("dr_resnet35", **fields | {"num_classes": 4})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"layer2.0.conv1 .*stride.*compute otherwise.*stride_in_3x3"):
        begin_from(model, str(tmp_path))
    torch.testing.assert_close(model.state_dict(), before)
    begin_from(create_model("dr_resnet35", stride_in_3x3=True, **fields), str(tmp_path))


def test_a_run_that_computes_otherwise_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "near", replace(MODELS["dr_resnet35"], width=8, stride_in_3x3=True))
    fields = {"num_classes": 3, "input_size": (1, 64, 64), "width": 8}  # as its data has it, which no recipe says
    made = create_model("dr_resnet35", stride_in_3x3=True, **fields)
    (tmp_path / RECIPE).write_text(recipe_text(replace(SHORT, model="near").to_dict()))
    save_weights(tmp_path / WEIGHTS, made)
    with pytest.raises(ValueError, match=r"layer2.0.conv1 .*stride.*compute otherwise"):
        begin_from(create_model("dr_resnet35", **fields), str(tmp_path))
    begin_from(create_model("dr_resnet35", stride_in_3x3=True, **fields), str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        (
            {"initial_weights": "nowhere"},
            FileNotFoundError,
            "initial_weights nowhere received; there is no file nowhere",
        ),
        ({"initial_weights": "FIRST", "model": "resnet_digits"}, ValueError, "does not fit resnet_digits"),
        ({"initial_weights": "FIRST", "zero_init_loops": True}, ValueError, "zero_init_loops received with initial_w"),
    ],
)
def test_a_beginning_that_cannot_be_leaves_no_folder(fields, error, says, first, tmp_path):
    fields = {key: str(first) if value == "FIRST" else value for key, value in fields.items()}
    static = {"target_rate": None} if "model" in fields else {}
    with pytest.raises(error, match=says):
        run(replace(STILL, **fields, **static), tmp_path / "second")
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("place", [".", WEIGHTS])
def test_a_run_does_not_begin_from_its_own_folder(place, first, tmp_path):
    folder = shutil.copytree(first, tmp_path / "first")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"initial_weights .* received for a run in .*first, which would replace them"):
        train(replace(STILL, initial_weights=str(folder / place)), folder, overwrite=True, progress=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_begins_once_more_says_from_what(first, tmp_path, monkeypatch):
    """It was killed before its first checkpoint, and the weights are others now."""
    folder = shutil.copytree(first, tmp_path / "first")
    recipe = replace(STILL, initial_weights=str(folder))
    monkeypatch.setattr(Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "second")
    monkeypatch.undo()
    moved = {key: value + 1 if key == "fc.bias" else value for key, value in load_file(first / WEIGHTS).items()}
    save_file(moved, folder / WEIGHTS)
    run(recipe, tmp_path / "second")
    assert run_environment(tmp_path / "second")["initial_weights_sha256"] == fingerprint(folder) != fingerprint(first)
    torch.testing.assert_close(weights(tmp_path / "second")["fc.bias"], moved["fc.bias"])


def test_what_has_begun_goes_on_without_the_weights_it_began_from(first, tmp_path, monkeypatch):
    shutil.copytree(first, tmp_path / "first")
    recipe, after_step = replace(STILL, epochs=2, initial_weights=str(tmp_path / "first")), Run.after_step

    def stop(run):
        if run.session.epoch == 1:
            run.requests.received = 15
        after_step(run)

    monkeypatch.setattr(Run, "after_step", stop)
    with pytest.raises(Interrupted):
        run(recipe, tmp_path / "second")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    for place in ("./first", str(tmp_path / "first")):  # goes on, then is finished; spelt one way or the other
        assert run(replace(recipe, initial_weights=place), tmp_path / "second")["recipe"]["epochs"] == 2
    with pytest.raises(FileExistsError, match=r"initial_weights '.*first' there, 'other' asked"):
        run(replace(recipe, initial_weights="other"), tmp_path / "second")
    torch.testing.assert_close(weights(tmp_path / "second"), weights(first))
    with pytest.raises(FileNotFoundError, match="initial_weights"):
        train(recipe, tmp_path / "second", overwrite=True, progress=False)
    assert (tmp_path / "second" / WEIGHTS).is_file()
