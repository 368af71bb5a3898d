"""The curve on whatever device and data set, and mistakes that are found before anything is measured."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import drnn
from drnn.budgets import curve as curves
from drnn.budgets.dial import Dial
from drnn.cli.main import main
from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.data import Normalize, StreamedDataset, load_dataset, load_streamed
from drnn.inference import optimize
from drnn.models import set_dense
from drnn.training import find_recipe, train
from drnn.training.checkpoint import LoadedRun, load_run
from drnn.training.distributed import choose_device


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of digits as an ImageNet folder."""
    root, digits = tmp_path_factory.mktemp("imagenet"), load_dataset("digits")
    for part, count in (("train", 12), ("val", 5)):
        for label in (0, 1):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for number, image in enumerate(digits.train_images[digits.train_labels == label][:count]):
                Image.fromarray(image[0].numpy()).resize((40, 40)).convert("RGB").save(folder / f"{number}.png")
    return root


def never(*_, **__):
    pytest.fail("measured before all was checked")


def masked_on_meta():
    """A network whose answers need no numbers."""
    return set_dense(drnn.create_model("dr_resnet16_cifar", num_classes=2).eval()).to("meta")


def test_the_dials_images_come_to_the_networks_device():
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    margins = Dial(masked_on_meta(), images, Normalize((0.5,) * 3, (0.5,) * 3), batch_size=4).margins
    assert {values.device.type for values in margins.values()} == {"meta"}


def test_images_from_files_come_to_the_networks_device(pictures, tmp_path, monkeypatch):
    """On a device without numbers: every network gets its images there, whatever is made of its answers.

    They come batch by batch: only those that the dial is turned on are held all at once.
    """
    evaluated, timed, at_once = [], [], []

    def evaluate_source(model, source):
        evaluated.append((source.num_test, next(model.parameters()).device.type))
        return SimpleNamespace(summary=lambda: {"acc1": 1.0, "macs_mean": 1, "mean_loops": 1})

    def time_in_turns(works, rounds, *_, **__):
        for work in works:
            work(0)
        return [(1.0,) * rounds for _ in works]

    def watched(model):
        fast = drnn.optimize(model)
        fast.register_forward_hook(lambda net, given, logits: timed.append((len(given[0]), logits.device.type)))
        return fast

    files = load_streamed("imagefolder", pictures, 32, workers=0)
    everything = StreamedDataset.test_images.func
    monkeypatch.setattr(StreamedDataset, "test_images", property(lambda own: at_once.append(own) or everything(own)))
    monkeypatch.setattr(curves, "load_run", lambda *_, **__: LoadedRun(masked_on_meta(), find_recipe("digits"), files))
    monkeypatch.setattr(curves, "wait", lambda device: None, raising=False)
    for double in (evaluate_source, time_in_turns):
        monkeypatch.setattr(curves, double.__name__, double)
    monkeypatch.setattr(curves, "optimize", watched)
    curves.curve(tmp_path, [tmp_path], points=2, device="meta")
    assert [held.num_test for held in at_once] == [files.num_train - 1]
    assert evaluated == [(10, "meta")] * 4  # three points and the other run
    assert timed == [(1, "meta")] * 4


def test_only_the_images_that_are_timed_are_normalised_for_that(run, monkeypatch):
    counts, normalise = [], Normalize.__call__

    def counted(self, images):
        counts.append(len(images))
        return normalise(self, images)

    monkeypatch.setattr(Normalize, "__call__", counted)
    curves.curve(run, [], points=2, batch_size=2)
    tests = load_run(run)[2].num_test
    assert sum(counts) == 1000 + 3 * tests + 2 * curves.BATCHES  # the dial's, every point's, those timed


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_curve_of_a_run_on_image_files(device, pictures, tmp_path):
    recipe = replace(
        find_recipe("imagenet-dr35"), model="dr_resnet16_cifar", data_root=str(pictures), image_size=32, batch_size=12,
        milestones=(),
        epochs=1, workers=0, threads=1, device="cpu",
    )  # fmt: skip
    train(recipe, tmp_path / "run", progress=False)
    result = curves.curve(tmp_path / "run", [tmp_path / "run"], points=2, device=device)
    assert [row["position"] for row in result["rows"]] == [None, 0.0, 1.0, None]
    assert all(row["latency_ms"] > 0 for row in result["rows"])
    assert result["device"] == str(choose_device(device))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert result["rows"][0]["acc1"] == pytest.approx(summary["acc1"], abs=0 if device == "cpu" else 0.2)


def test_the_device_that_was_used_is_kept(run, tmp_path):
    assert main(["curve", str(run), "--points", "2", "--out", str(tmp_path / "c"), "--device", "auto"]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["device"] == str(choose_device("auto"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--picture", "c.xyz"], "c.xyz received; a picture ends in .png"),
        (["--picture", "file/c.png"], "file is no folder"),
        (["--picture", "c.png"], "a picture needs matplotlib"),
        (["--out", "file/c"], "file is no folder"),
        (["--out", "folder"], "folder.json is a folder"),
        (["--device", "meta"], "device 'meta' received, which cannot be waited for"),
        (["--points", "1"], "1 points"),
        (["--batch_size", "2000"], "batch_size 2000 received; there are 599 test images"),
        (["nowhere"], "nowhere has no recipe.yaml"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(options, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder.json").mkdir()
    for work in ("Dial", "evaluate_source", "time_in_turns"):
        monkeypatch.setattr(curves, work, never)
    if "matplotlib" in message:
        for name in ("matplotlib", "matplotlib.figure"):
            monkeypatch.setitem(sys.modules, name, None)  # as python itself marks what is not to be found
    before = sorted(run.iterdir())
    assert main(["curve", str(run), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(run.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.json"}


def test_the_curve_goes_from_closed_to_open(run, tmp_path, capsys):
    out = tmp_path / "sub" / "curve"
    assert main(["curve", str(run), "--points", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    costs = count_costs(load_run(run)[0])
    assert [row["position"] for row in rows] == [None, 0.0, 0.5, 1.0]
    assert (rows[1]["macs_mean"], rows[3]["macs_mean"]) == (costs.expected_macs(0), costs.max_macs)
    assert rows[0]["acc1"] == json.loads((run / "summary.json").read_text())["acc1"]
    assert out.with_suffix(".csv").read_text() == printed
    assert printed.count("\n") == 5


def test_the_curves_points_are_timed_in_turn_on_one_network(run, monkeypatch):
    seen = []

    def watched(model):
        fast = optimize(model)
        fast.register_forward_pre_hook(
            lambda net, _: seen.append(tuple(float(gate.threshold) for gate in gates_of(net).values()))
        )
        return fast

    monkeypatch.setattr(curves, "optimize", watched)
    rows = curves.curve(run, [], points=3)["rows"]
    assert len(set(seen)) == 4
    assert all(len(set(seen[turn : turn + 4])) == 4 for turn in range(0, len(seen), 4))
    assert all(0 < row["latency_ms"] <= row["p95_ms"] for row in rows)


def test_the_curves_picture(run, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    file = tmp_path / "curve.svg"
    assert (
        main(["curve", str(run), str(run), "--points", "2", "--out", str(tmp_path / "c"), "--picture", str(file)]) == 0
    )
    assert "as trained" in file.read_text()
    assert (
        main(["curve", str(run), "--points", "2", "--out", str(tmp_path / "c"), "--picture", str(tmp_path / "x.xyz")])
        == 2
    )
    assert "ends in .png" in capsys.readouterr().err
