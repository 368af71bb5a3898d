"""drnn bench inference: mistakes are named before anything is measured, and a device has one name."""

import sys

import pytest
import torch

from drnn.bench.inference import read_entries
from drnn.cli.main import main

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "[1,0]"], "threads [1, 0] received"),
        (["--threads", "[]"], "threads [] received"),
        (["--limit", "-1"], "limit -1 received"),
        (["--batch_sizes", "[]"], "batch sizes [] "),
        (["--device", "tpu9"], "not usable here"),
        (["--device", "meta"], "device 'meta' received, which cannot be waited for"),
        (["--picture", "x.doc"], "x.doc received; a picture ends in .png"),
        (["--picture", "x.png"], "a picture needs matplotlib"),
        (["--picture", "{file}/x.png"], "is no folder"),
        (["--json", "."], ". is a folder"),
        (["--json", "{file}/x.json"], "is no folder"),
        (["--first", "resnet_digits", "--second", "resnet_digits"], "asks no gates"),
        (["--first", "runs/nowhere"], "there is no folder runs/nowhere"),
        (["--first", "dr_resnet_digts"], "did you mean dr_resnet_digits"),
        (["--second", "torchvision/resnet50", "--forms", "[optimised]"], "run plain only"),
        (["--first", "torchvision/resnet50", "--second", "resnet50", "--picture", "x.svg"], "has no loops to draw"),
    ],
)
def test_mistakes_get_one_line_before_anything_is_measured(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "matplotlib" in message:
        for name in ("matplotlib", "matplotlib.figure"):
            monkeypatch.setitem(sys.modules, name, None)  # as python itself marks what is not to be found
    options = [option.format(file=__file__) for option in options]
    arguments = ["bench", "inference", "--first", PAIR[0], "--batch_sizes", "[1]", "--rounds", "1", *options]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(capsys):
    assert main(["bench", "inference", "--first", PAIR[0], "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert "device 'cuda' is not usable here" in error
    assert error.count("\n") == 1


def assert_measured_once(devices, file, known):
    """What was measured on a device by one of its names is not measured again by another."""
    for device in devices:
        options = [
            "--device",
            device,
            "--batch_sizes",
            "[1]",
            "--forms",
            "[plain]",
            "--threads",
            "[1]",
            "--rounds",
            "1",
        ]
        assert main(["bench", "inference", "--first", PAIR[0], "--json", str(file), *options]) == 0
    assert [entry["device"] for entry in read_entries(file)] == [known]


def test_one_device_has_one_name(tmp_path):
    assert_measured_once(("cpu", "cpu:0"), tmp_path / "result.json", "cpu")


@pytest.mark.gpu
def test_one_gpu_has_one_name(tmp_path):
    assert_measured_once(("auto", "cuda", "cuda:0"), tmp_path / "result.json", "cuda:0")


def test_a_folder_with_a_networks_name_is_not_taken_for_a_run(tmp_path, monkeypatch, capsys):
    """``./dr_resnet_digits`` would be."""
    monkeypatch.chdir(tmp_path)
    for name in PAIR:
        (tmp_path / name).mkdir()
    arguments = ["--batch_sizes", "[1]", "--threads", "[1]", "--forms", "[plain]", "--rounds", "1", "--json", "x.json"]
    assert main(["bench", "inference", "--first", PAIR[0], *arguments]) == 0
    assert main(["bench", "inference", "--first", f"./{PAIR[0]}", *arguments]) == 2
    assert "has no recipe.yaml" in capsys.readouterr().err
