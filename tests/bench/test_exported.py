"""Exported networks are timed with gates that loop as they are told, on files of the code at hand."""

import json

import numpy as np
import pytest
import torch

from drnn import create_model, load_onnx
from drnn.bench import LoopScript, exported, script_by_rate
from drnn.bench.subjects import build, costs_of
from drnn.bench.taught_gates import teach
from drnn.cli.bench import export_parser
from drnn.cli.main import main

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2"])
def test_taught_gates_loop_as_they_were_told_by_themselves(name):
    images = torch.randn(16, *create_model(name).input_size, generator=torch.Generator().manual_seed(0))[..., :64, :64]
    model, slots = build(name, "plain", 0), costs_of(name).slots
    script = script_by_rate(slots, 0.6, 16)
    teach(model, script, images)
    executed = model.forward_with_gates(images)[1].executed
    done = torch.stack([part.sum(1) for part in executed.split(list(slots), 1)], 1)
    assert torch.equal(done, script.loops)
    with pytest.raises(RuntimeError, match="were taught"):
        teach(model, LoopScript(script.loops.roll(1, 0)), images[:1].expand_as(images))


def test_exported_files_are_timed_in_pairs_and_kept_for_their_commit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exported, "environment", lambda device: {"commit": "one", "torch": "2"})
    arguments = ["bench", "export", "--first", "dr_resnet_digits", "--mean_loops", "3", "--batch_sizes", "[1,16]"]
    arguments += ["--rounds", "5", "--threads", "1", "--folder", str(tmp_path / "files")]
    assert main([*arguments, "--json", str(tmp_path / "export.json")]) == 0
    result = json.loads((tmp_path / "export.json").read_text())
    assert result["networks"] == list(PAIR)
    (folder,) = (tmp_path / "files").iterdir()
    images = exported.images_of(PAIR[0]).numpy()
    ours, static = (load_onnx(folder / f"{name}.onnx")(images).macs for name in ("ours", "static"))
    for part in result["efficiency"]:
        assert part["mean_loops"] == 3
        assert part["rounds"] == 5
        shares = (ours / static)[:5] if part["batch_size"] == 1 else ours.sum(keepdims=True) / static.sum()
        assert part["macs_ratio"] == pytest.approx(np.median(shares))
        share = part["efficiency"] * part["time_ratio"]  # of the pair in the middle; all 16 images at once have one
        assert 0.999 * shares.min() < share < 1.001 * shares.max()
    assert ours.min() < ours.max() < static.max()
    assert [part["batch_size"] for part in result["closed"]] == [1, 16]
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert main([*arguments, "--json", str(tmp_path / "again.json")]) == 0
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    monkeypatch.setattr(exported, "environment", lambda device: {"commit": "one", "torch": "3"})
    assert main([*arguments, "--json", str(tmp_path / "again.json")]) == 0
    assert not {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}.items() & before.items()
    assert "gates closed / fixed part" in capsys.readouterr().out
    assert main(["bench", "export", "--batch_sizes", "[17]"]) == 2
    assert "each is 1 to 16" in capsys.readouterr().err
    assert main(["bench", "nothing"]) == 2
    assert "say what to time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (["--first", "resnet_digits"], "asks no gates"),
        (["--first", "aig_resnet110_cifar"], "asks no gates"),
        (["--first", "dr_resnet_digits", "--second", "dr_resnet_digits"], "which has gates"),
        (["--first", "dr_resnet_digits", "--second", "resnet20_cifar"], "give two networks for the same images"),
        (["--first", "dr_resnet53", "--second", "torchvision/resnet101"], "not exported here"),
    ],
)
def test_networks_that_make_no_pair_are_refused(networks, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--second" not in networks:
        networks = [*networks, "--second", "resnet_digits"]
    assert main(["bench", "export", *networks, "--mean_loops", "1"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "message"), [("--json", "is a folder"), ("--folder", "is no folder")])
def test_places_that_cannot_be_written_are_found_before_anything_is_exported(
    option, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exported, "_export", lambda *_: pytest.fail("exported before all was checked"))
    place = {"--json": str(tmp_path), "--folder": __file__}[option]
    assert main(["bench", "export", "--first", "dr_resnet_digits", "--mean_loops", "3", option, place]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_images_take_as_many_loops_as_gates_at_their_target_would_have_them_take():
    """Of the paper where it says how many; networks of few loops cannot take those of another."""
    assert exported.usual_loops("dr_resnet53") == 11.74
    assert exported.usual_loops("dr_resnet_digits") == pytest.approx(2 * (0.7 + 0.7**2 + 0.7**3))
    assert export_parser().parse_args([]).mean_loops is None
