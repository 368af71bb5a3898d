"""The commands that use a run, on the device asked for."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from drnn.cli.main import main
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    train(replace(find_recipe("digits"), epochs=3, threads=1, device="cpu"), folder, progress=False)
    return folder


@pytest.fixture
def command(run, tmp_path):
    """Arguments of a command without its device."""
    picture = tmp_path / "grey.png"
    Image.new("L", (8, 8), 90).save(picture)
    return {
        "eval": ["eval", str(run), "--json"],
        "predict": ["predict", str(run), str(picture), "--format", "json"],
        "calibrate": ["calibrate", str(run), "--macs", "0.8"],
        "curve": ["curve", str(run), "--points", "2", "--out", str(tmp_path / "curve")],
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["eval", "predict", "calibrate", "curve"])
def test_a_device_that_is_not_there_is_refused(name, command, run, capsys):
    before = sorted(run.iterdir())
    assert main([*command[name], "--device", "cuda"]) == 2
    out, error = capsys.readouterr()
    assert "device 'cuda' is not usable here" in error
    assert error.count("\n") == 1
    assert out == ""
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("name", ["eval", "predict", "calibrate", "curve"])
def test_a_device_may_be_named(name, command, run, tmp_path, capsys):
    assert main([*command[name], "--device", "cpu"]) == 0
    if name == "calibrate":
        assert json.loads((run / "budget.json").read_text())["found"]["device"] == "cpu"
    if name == "curve":
        assert json.loads((tmp_path / "curve.json").read_text())["device"] == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["eval", "predict"])
def test_a_gpu_answers_as_the_cpu_does(name, command, capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    answers = []
    for device in ("cpu", "cuda"):
        assert main([*command[name], "--device", device]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    for key in ("acc1", "mean_loops", "loops", "macs", "label"):
        cpu, gpu = (part[0].get(key) if isinstance(part, list) else part.get(key) for part in answers)
        assert gpu == pytest.approx(cpu, rel=0.01) if isinstance(cpu, float) else gpu == cpu


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["calibrate", "curve"])
def test_what_is_found_on_a_gpu_fits(name, command, run, tmp_path):
    assert main([*command[name], "--device", "cuda"]) == 0
    if name == "calibrate":
        found = json.loads((run / "budget.json").read_text())["found"]
        assert found["device"].startswith("cuda")
        assert found["macs_mean"] == pytest.approx(found["macs_target"], rel=0.02)
    else:
        rows = json.loads((tmp_path / "curve.json").read_text())["rows"]
        assert [row["position"] for row in rows] == [None, 0.0, 1.0]
        assert all(row["latency_ms"] > 0 for row in rows)


@pytest.mark.gpu
def test_a_run_is_loaded_where_it_is_wanted(run):
    assert next(load_run(run, device="cuda")[0].parameters()).is_cuda
