"""A budget is met: on the images it was found on and on the test images, and from closed to open."""

import json
import math
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import drnn
from drnn.budgets import apply_budget, read_budget
from drnn.budgets.calibrate import calibrate
from drnn.budgets.latency import macs_between
from drnn.budgets.request import Request
from drnn.cli.main import main
from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.data import Normalize, hold_out
from drnn.training import evaluate
from drnn.training.checkpoint import load_run

from ..inference.networks import OperationCounter


@pytest.mark.parametrize("scope", ["global", "per_gate"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_test_images_cost_what_was_asked_for(run, share, scope):
    budget = calibrate(run, Request(share, "share"), scope, images=600)
    model, _, data = load_run(run)
    apply_budget(model, budget.thresholds)
    macs = evaluate(model, data.test_images, data.test_labels, Normalize(data.mean, data.std)).macs.double()
    chance = 3 * float(macs.std()) / len(macs) ** 0.5  # other images than those the thresholds were found on
    assert budget.found["macs_mean"] == pytest.approx(share * budget.found["static_macs"], rel=0.01)
    target = share * budget.found["static_macs"]
    assert float(macs.mean()) == pytest.approx(target, abs=max(0.02 * target, chance))


def test_what_no_threshold_can_do_is_refused(run):
    with pytest.raises(ValueError, match=r"all gates closed and .* M with all open"):
        calibrate(run, Request(0.1, "share"))
    with pytest.raises(ValueError, match="ms an image were asked for; on this machine"):
        calibrate(run, Request(1e5, "ms"))
    with pytest.raises(ValueError, match="images 0 received; give 1 or more"):
        calibrate(run, Request(0.8, "share"), images=0)


def test_the_command_keeps_a_budget_and_eval_uses_it(run, capsys):
    assert main(["eval", str(run), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert main(["calibrate", str(run), "--macs", "0.5"]) == 0
    assert "of the static network" in capsys.readouterr().out
    assert main(["eval", str(run), "--budget", "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["macs_mean"] == pytest.approx(0.5 * read_budget(run).found["static_macs"], rel=0.06)
    assert after["macs_mean"] != before["macs_mean"]
    assert main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before


def test_a_budget_that_cannot_be_kept_is_not_looked_for(run, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("budget.json"))
    (folder / "budget.json").mkdir()
    monkeypatch.setattr("drnn.cli.calibrate.calibrate", lambda *_: pytest.fail("searched before all was checked"))
    assert main(["calibrate", str(folder), "--macs", "0.5"]) == 2
    assert "budget.json is a folder" in capsys.readouterr().err


@pytest.fixture
def alike(run, tmp_path):
    """A run whose gates answer all images alike, so that few costs can be reached, with a budget from before."""
    folder = tmp_path / "alike"
    shutil.copytree(run, folder)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith("gate.scorer.fc2.weight"):
            weights[name].zero_()
    save_file(weights, folder / "model.safetensors")
    (folder / "budget.json").write_text("an older budget")
    return folder


@pytest.mark.parametrize("scope", ["global", "per_gate"])
def test_a_request_that_is_missed_is_an_error_that_names_the_nearest_costs(alike, scope, capsys):
    costs = count_costs(load_run(alike)[0])
    between = (costs.expected_macs(0) * 0.8 + costs.max_macs * 0.2) / 1e6
    asked = ["calibrate", str(alike), "--scope", scope, "--images", "200", "--macs"]
    assert main([*asked, f"{between}M"]) == 2
    message = capsys.readouterr().err
    assert "and no thresholds come within 2% of that: these gates answer many images alike" in message
    assert (alike / "budget.json").read_text() == "an older budget"
    under, over = re.search(r"nearest found are ([\d.]+) M and ([\d.]+) M; ask for one of them", message).groups()
    assert costs.expected_macs(0) / 1e6 - 0.001 <= float(under) < between < float(over) <= costs.max_macs / 1e6 + 0.001
    for reachable in (under, over):
        assert main([*asked, f"{reachable}M"]) == 0
        assert read_budget(alike).found["macs_mean"] == pytest.approx(float(reachable) * 1e6, abs=600)


def count_operations(work, turn=0, device=None):
    """A clock that does not depend on the machine: a microsecond for every operation of torch."""
    with OperationCounter() as counter:
        work(turn)
    return counter.count * 1e-6


def operations(model, thresholds, images):
    """Mean operations of an image in the optimised network, in ms of that clock."""
    fast = drnn.optimize(model)
    apply_budget(fast, thresholds)
    with torch.inference_mode():
        for x in images.split(1):  # lays the weights out
            fast(x)
        return sum(count_operations(lambda _, x=x: fast(x)) for x in images.split(1)) / len(images) * 1e3


def test_milliseconds_are_those_of_the_optimised_network_and_measured_again(run, monkeypatch, capsys):
    monkeypatch.setattr("drnn.budgets.latency.seconds", count_operations)
    model, _, data = load_run(run)
    images = Normalize(data.mean, data.std)(hold_out(data, 1000).test_images[:100])
    closed, opened = (operations(model, dict.fromkeys(gates_of(model), end), images) for end in (math.inf, -math.inf))
    asked = (closed * 3 + opened) / 4
    assert main(["calibrate", str(run), "--ms", str(asked)]) == 0
    budget, costs = read_budget(run), count_costs(model)
    low, high = costs.expected_macs(0), costs.max_macs
    assert budget.found["macs_target"] == pytest.approx(low + (high - low) / 4)
    assert budget.found["macs_mean"] == pytest.approx(budget.found["macs_target"], rel=0.01)
    assert budget.found["ms_mean"] == pytest.approx(operations(model, budget.thresholds, images))
    assert budget.found["ms_images"] == 100
    shown = capsys.readouterr().out
    assert f"{asked:.3f} ms an image asked for, {budget.found['ms_mean']:.3f} ms measured on 100 of them" in shown


def test_time_becomes_multiply_adds_between_what_was_measured():
    ends = (2.0, 100.0), (6.0, 500.0)
    assert [macs_between(ms, *ends) for ms in (1.97, 2.0, 5.0, 6.0, 6.1)] == [100.0, 100.0, 400.0, 500.0, 500.0]
    for outside in (1.9, 6.2):
        with pytest.raises(ValueError, match=r"takes 2\.000 ms with all gates closed and 6\.000 ms with all open"):
            macs_between(outside, *ends)
    with pytest.raises(ValueError, match="gates make no difference to the time here"):
        macs_between(2.0, (2.0, 100.0), (2.0, 500.0))
