"""A trained run against its static counterpart: its own gates, on its own test images."""

import shutil

import pytest
import torch
import yaml

from drnn import create_model
from drnn.bench.inference import read_entries, run_cases
from drnn.bench.subjects import Case
from drnn.bench.trained import batches_of, trained_pair
from drnn.cli.main import main
from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.data import Normalize
from drnn.training import evaluate_source
from drnn.training.checkpoint import load_run
from drnn.training.network import save_weights

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose gates answer differently from image to image."""
    folder = tmp_path_factory.mktemp("bench") / "digits"
    tiny = ["--epochs", "2", "--batch_size", "128", "--held_out", "1000", "--threads", "1", "--quiet"]
    assert main(["train", "digits", "--out", str(folder), *tiny]) == 0
    model = load_run(folder)[0]
    torch.manual_seed(0)
    for gate in gates_of(model).values():
        torch.nn.init.normal_(gate.scorer.fc2.weight)
        torch.nn.init.zeros_(gate.scorer.fc2.bias)
    save_weights(folder / "model.safetensors", model)
    return folder


@pytest.mark.parametrize("form", ["plain", "optimised"])
def test_a_run_is_timed_with_its_own_gates_on_its_own_test_images(run, form):
    case = Case(str(run), PAIR[1], form, 250, 4)  # all 1000 test images once
    pair = trained_pair(case)
    model, _, data = load_run(run)
    result = evaluate_source(model, data)
    totals = pair.executed.sum(1).tolist()
    assert sorted(totals) == sorted(result.loops.tolist())
    assert sum(pair.macs) == int(result.macs.sum())
    assert len(set(totals)) > 2
    assert pair.share == pytest.approx(float(result.loops.double().mean()) / 6)  # loops of one size
    assert pair.static_macs == count_costs(create_model(PAIR[1])).max_macs
    with torch.inference_mode():
        for turn in range(4):
            logits, record = pair.first.forward_with_gates(pair.batch(turn))
            torch.testing.assert_close(pair.run(turn), logits)
            assert int(pair.costs.macs_per_image(record).sum()) == pair.macs[turn]


def test_few_test_images_are_spread_and_then_repeated(run):
    data = load_run(run)[2]
    spread = torch.cat(batches_of(data, 4, 3, "cpu"))
    images = Normalize(data.mean, data.std)(data.test_images)
    assert torch.equal(spread, images[::83][:12])
    again = torch.cat(batches_of(data, 275, 4, "cpu"))
    assert torch.equal(again, images[torch.arange(1100) % 1000])


def test_the_command_times_a_run_against_its_counterpart(run, tmp_path, capsys):
    file = tmp_path / "result.json"
    arguments = ["bench", "inference", "--first", f"{run}/", "--batch_sizes", "[1,8]", "--forms", "[plain]"]
    arguments += ["--threads", "[1]", "--rounds", "3", "--json", str(file)]
    assert main(arguments) == 0
    assert "Gates as trained, 6 loops." in capsys.readouterr().out
    entries = read_entries(file)
    assert [(entry["second"], entry["gates"], entry["images"]) for entry in entries] == [
        ("resnet_digits", "as trained", 3), ("resnet_digits", "as trained", 24),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert len(read_entries(file)) == 2
    capsys.readouterr()
    for more, message in (
        (["--second", str(run)], "give a static one by name"),
        (["--second", "dr_resnet_digits"], "which has gates"),
        (["--second", "torchvision/resnet50"], "takes images of (1, 8, 8) and torchvision/resnet50 of"),
        (["--line", "true"], "only gates that follow a script have one"),
    ):
        assert main([*arguments, "--batch_sizes", "[2]", *more]) == 2
        assert message in capsys.readouterr().err
    assert len(read_entries(file)) == 2


def test_other_weights_in_the_same_folder_are_measured_again(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "digits")
    case, file = Case(str(folder), PAIR[1], "plain", 2, 1), tmp_path / "result.json"
    assert len(list(run_cases([case], 1, file))) == 1
    assert list(run_cases([case], 1, file)) == []
    model = load_run(folder)[0]
    torch.nn.init.zeros_(model.fc.bias)
    save_weights(folder / "model.safetensors", model)
    assert len(list(run_cases([case], 1, file))) == 1


def test_a_run_whose_gates_draw_lots_is_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "digits")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "gate_noise": "always"}))
    with pytest.raises(ValueError, match="draw lots in evaluation"):
        trained_pair(Case(str(folder), PAIR[1], "plain", 1, 1))
