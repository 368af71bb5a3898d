"""``drnn export`` as a user meets it."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from drnn import create_model, load_onnx, save_pretrained
from drnn.budgets import Budget, write_budget
from drnn.cli.main import main
from drnn.core import gates_of
from drnn.models import Preprocessing
from drnn.opening import open_network
from drnn.weights.files import fingerprint

DOCS = Path(__file__).parent.parent.parent / "docs" / "export.md"


def test_export_of_a_folder_of_weights_runs_in_plain_onnxruntime_as_the_docs_say(tmp_path, capsys, monkeypatch):
    folder, file = tmp_path / "net", tmp_path / "out" / "digits.onnx"
    save_pretrained(create_model("resnet_digits"), folder, Preprocessing((1, 8, 8), (0.3,), (0.4,)))
    assert main(["export", str(folder), str(file), "--fixed_size"]) == 0
    assert "resnet_digits, trained weights" in capsys.readouterr().out
    network = load_onnx(file)
    assert network.preprocessing.mean == (0.3,)
    proto = onnx.load(file)
    proto.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # as other tools leave their own
    onnx.save(proto, file)
    monkeypatch.chdir(file.parent)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    np.testing.assert_allclose(
        names["logits"], network(network.prepare(np.zeros((5, 8, 8, 1), np.uint8))).logits, rtol=1e-4
    )


def test_a_name_gives_fresh_weights_and_a_run_its_own(tmp_path):
    assert not open_network("resnet_digits").trained
    run = ["train", "digits-static", "--epochs", "1", "--batch_size", "128", "--held_out", "1000", "--threads", "1"]
    assert main([*run, "--quiet", "--out", str(tmp_path / "run")]) == 0
    source = open_network(str(tmp_path / "run"))
    assert source.trained
    assert source.preprocessing.size == (1, 8, 8)
    assert 0 < source.preprocessing.std[0] < 1
    assert source.classes == tuple("0123456789")


def test_a_budget_goes_into_the_file(tmp_path, capsys):
    run, file = tmp_path / "run", tmp_path / "closed.onnx"
    arguments = ["train", "digits", "--epochs", "1", "--batch_size", "128", "--held_out", "1000", "--threads", "1"]
    assert main([*arguments, "--quiet", "--out", str(run)]) == 0
    assert main(["export", str(run), str(file), "--budget"]) == 2
    assert "make one with: drnn calibrate" in capsys.readouterr().err
    thresholds = dict.fromkeys(gates_of(create_model("dr_resnet_digits")), float("inf"))
    write_budget(run, Budget("dr_resnet_digits", thresholds, {}, {}, fingerprint(run), {}))
    assert main(["export", str(run), str(file), "--budget"]) == 0
    pixels = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    assert load_onnx(file)(pixels).loops.sum() == 0
    assert main(["export", "dr_resnet_digits", str(file), "--budget"]) == 2
    assert "is no folder, so it has no budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet_digits", "net.tflite"], "ends with .onnx or .pt2"),
        (["runs/nowhere", "net.tflite"], "ends with .onnx or .pt2"),  # before anything is opened
        (["runs/nowhere", "/dev/null/net.onnx"], "/dev/null is no folder; name another place"),
        (["resnet_digits", "net.onnx", "--aot"], "--aot makes .pt2"),
        (["resnet_digts", "net.onnx"], "did you mean resnet_digits"),
        (["runs/nowhere", "net.onnx"], "there is no folder runs/nowhere"),
        (["aig_resnet110_cifar", "net.onnx"], "noise in evaluation"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_signal_leaves_nothing_of_an_export_that_had_begun(tmp_path):
    words = [sys.executable, "-m", "drnn", "export", "resnet_digits", str(tmp_path / "net.onnx")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not any(tmp_path.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.terminate()
        process.terminate()  # as a cluster does that signals every process of a job
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert "drnn export: SIGTERM received" in said
    assert list(tmp_path.iterdir()) == []
