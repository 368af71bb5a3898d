"""A script is followed to the letter, its multiply-adds are those executed, and a result file is added to."""

import json
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.bench import LoopScript, script_by_rate
from drnn.bench.inference import cases_for, read_entries, run_cases, straight_line
from drnn.bench.measure import time_ends
from drnn.bench.memory import peak_bytes, weight_bytes
from drnn.bench.picture import draw_times
from drnn.bench.report import markdown
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build, macs_of, share_of_loops
from drnn.cli import bench
from drnn.cli.main import main
from drnn.core import LVBN2d
from drnn.costs import count_costs, count_params
from drnn.inference.shared_conv import can_scale, fold_loops

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize("form", ["plain", "optimised", "masked"])
def test_executed_multiply_adds_are_those_of_the_script(form):
    model, costs = build(PAIR[0], form, 0), count_costs(create_model(PAIR[0]))
    script = script_by_rate(costs.slots, 0.6, 12)
    scripted, x = Scripted(model, script, 6), torch.randn(6, 1, 8, 8)
    for batch in range(2):
        scripted.check(x, batch)
        scripted.prepare(batch)
        with torch.inference_mode():
            record = model.forward_with_gates(x)[1]
        assert torch.equal(costs.macs_per_image(record), macs_of(script, costs)[batch * 6 :][:6])
    if form == "plain":  # torch counts no fused kernels
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            scripted.prepare(1)
            model(x)
        assert counter.get_total_flops() == 2 * int(macs_of(script, costs)[6:].sum())


def test_a_form_that_does_something_else_is_noticed():
    model = build(PAIR[0], "plain", 0)
    scripted = Scripted(model, LoopScript(torch.tensor([[1, 2], [0, 3]])), 2)
    scripted.check(torch.randn(2, 1, 8, 8))
    scripted.plans[0][0][0].neg_()
    with pytest.raises(RuntimeError, match="other loops than its script"):
        scripted.check(torch.randn(2, 1, 8, 8))
    with pytest.raises(ValueError, match="of 5 blocks received for a network of 2"):
        Scripted(build(PAIR[0], "plain", 0), LoopScript(torch.ones(2, 5, dtype=torch.long)), 2)


def test_the_ends_of_the_line_are_the_network_without_and_with_all_loops():
    model = build(PAIR[0], "plain", 0)
    calls = []
    model.layer2[1].body.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        time_ends(model, torch.randn(1, 1, 8, 8), "cpu")
        assert len(calls) == 3
    assert "forward" not in model.layer2[1].__dict__
    assert share_of_loops(LoopScript(torch.tensor([[3, 3]])), count_costs(model)) == 1.0


def test_a_measurement_says_what_it_is_and_a_file_is_added_to(tmp_path):
    file = tmp_path / "result.json"
    cases = [Case(*PAIR, form, 2, 3) for form in ("plain", "optimised")]
    assert len(list(run_cases(cases, 1, file, limit=1))) == 1
    assert len(list(run_cases(cases, 1, file))) == 1
    assert list(run_cases(cases, 1, file)) == []
    entries = read_entries(file)
    for entry in entries:
        assert entry["efficiency"] > 0
        assert 0 < entry["ratio"] < float("inf")
        assert entry["images"] == 6
        assert min(entry["peak_bytes"]) >= 2 * 32 * 64 * 4  # two images of the first maps
        ours, static = entry["weight_bytes"]
        assert 4 * count_params(create_model(PAIR[0])) < ours
        assert 4 * count_params(create_model(PAIR[1])) < static
    draw_times(entries, tmp_path / "times.svg")
    assert "dr_resnet_digits" in (tmp_path / "times.svg").read_text()
    with pytest.raises(ValueError, match=r"ends in \.png"):
        draw_times(entries, tmp_path / "times.doc")
    with pytest.raises(ValueError, match="no measurements of recursive networks"):
        draw_times([], tmp_path / "none.png")
    assert "| optimised | 1 | 2 | 3 |" in markdown(entries)
    for damaged in ([1], {"entries": [{"a": 1}]}, {"entries": [1]}, {"entries": {"a": 1}}, {"entries": 3}):
        file.write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match="no result file of drnn bench"):
            read_entries(file)


def test_the_straight_line_in_closed_form():
    entries = [  # the machine slows down from one to the next; the static network takes pace seconds
        {"macs_mean": m, "ratio": 1 + 2 * m, "latency_s": [pace * (1 + 2 * m)], "ends_s": [pace]}
        for m, pace in ((0.0, 1.0), (1.0, 1.5), (2.0, 1.2), (5.0, 3.0))
    ]
    assert straight_line(entries) == pytest.approx({"r2": 1.0, "rest": 1.0, "points": 4})
    entries[1]["ratio"] = 9.0
    assert straight_line(entries)["r2"] < 0.9
    with pytest.raises(ValueError, match="2 rates received"):
        straight_line(entries[:2])


@pytest.mark.parametrize("field", [{"form": "fast"}, {"batch_size": 0}, {"rounds": 0}])
def test_cases_refuse_what_cannot_be_measured(field):
    (name,) = field
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        Case(**{"first": PAIR[0], "second": PAIR[1], "form": "plain", "batch_size": 1, "rounds": 1, **field})


def test_peak_bytes_are_those_alive_at_once():
    x = torch.ones(1000)

    def chain():
        y = x
        for _ in range(5):
            y = y + 1  # the old one is freed once the new one is there

    def fan():
        kept = [x + i for i in range(5)]
        assert len(kept) == 5

    with torch.inference_mode():
        assert [peak_bytes(work) for work in (chain, fan, lambda: x.add_(1), lambda: x.view(10, 100))] == [
            8000, 20000, 0, 0,
        ]  # fmt: skip


@pytest.mark.skipif(not can_scale(), reason="this torch has no such fused kernels")
def test_weight_bytes_are_what_is_kept_once_more_where_it_is_laid_out():
    conv, norm = torch.nn.Conv2d(256, 256, 1, bias=False), LVBN2d(256, 2).eval()
    tied = torch.nn.Sequential(conv, conv)  # counted once
    assert weight_bytes(tied) == 4 * 256 * 256
    layer = fold_loops(conv, norm)
    kept = 4 * (256 * 256 + 4 * 256)  # weights; scales and shifts of two loops
    assert weight_bytes(layer) == kept
    with torch.inference_mode():
        layer(torch.ones(1, 256, 2, 2), 1)
    assert weight_bytes(layer) == kept + 4 * (256 * 256 + 2 * 256)


def test_torchvisions_own_network_is_timed_beside_ours(tmp_path):
    case = Case("torchvision/mobilenet_v2", "mobilenetv2", "plain", 1, 1)
    (entry,) = run_cases([case], 1, tmp_path / "result.json")
    assert 0.9 < entry["macs_mean"] / entry["static_macs"] < 1.1
    assert entry["efficiency"] > 0
    assert "No gates." in markdown([entry])
    for pair in (("torchvision/mobilenet_v2", "mobilenetv2"), ("dr_mobilenetv2", "torchvision/mobilenet_v2")):
        with pytest.raises(ValueError, match="run plain only"):
            Case(*pair, "optimised", 1, 1)


def test_captured_is_for_one_image_only():
    cases = cases_for(("dr_resnet53", "resnet101"), [1, 8], ["plain", "captured"], 2, False, 0, "cuda")
    assert [(case.form, case.batch_size) for case in cases] == [("plain", 1), ("plain", 8), ("captured", 1)]
    for sizes, device in (([8], "cuda"), ([1], "cpu")):
        with pytest.raises(ValueError, match=f"'captured' received with batch size {sizes[0]} on {device}"):
            cases_for(("dr_resnet53", "resnet101"), sizes, ["captured"], 2, False, 0, device)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("dr_resnet16_cifar", "resnet50"), r"\(3, 32, 32\) and resnet50 of \(3, 224, 224\)"),
        (("dr_resnet16_cifar", "torchvision/mobilenet_v2"), r"\(3, 32, 32\) and torchvision/mobilenet_v2 of \(3, 224"),
        (("torchvision/resnet50", "resnet20_cifar"), r"\(3, 224, 224\) and resnet20_cifar of \(3, 32, 32\)"),
        (("resnet20_cifar", "resnet20_cifar"), "asks no gates before its loops; give a recursive one"),
        (("aig_resnet110_cifar", "resnet110_cifar"), "asks no gates before its loops; give a recursive one"),
        (("dr_resnet16_cifar", "dr_resnet16_cifar"), "which has gates; give a static one"),
    ],
)
def test_networks_that_make_no_pair_are_refused(pair, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        list(run_cases([Case(*pair, "plain", 1, 1)], 1, tmp_path / "result.json"))
    assert list(tmp_path.iterdir()) == []


def test_rows_have_their_own_loops_and_images_a_second():
    common = {"first": "a", "second": "b", "form": "plain", "threads": 1, "rounds": 2, "rate": None, "max_loops": 6}
    common |= {"device": "cpu", "seed": 0}
    common |= {"ratio": 0.5, "macs_mean": 1, "static_macs": 2, "efficiency": 1.0, "limit": 1.0, "peak_bytes": [1, 2]}
    entries = [
        {
            **common, "batch_size": size, "mean_loops": mean, "std_loops": std, "latency_s": [0.1, 0.2],
            "latency_p95_s": [0.1, 0.2], "images_per_s": [size / 0.1, size / 0.2],
        }
        for size, mean, std in ((1, 3.0, 1.76), (8, 3.25, 1.46))
    ]  # fmt: skip
    table = markdown(entries)
    assert "| 3.00 ± 1.76 |" in table
    assert "| 3.25 ± 1.46 |" in table
    assert "| 80.0 / 40.0 |" in table
    assert "Gates scripted, 6 loops." in table
    assert "`a` against `b`\n" in table
    assert table.count(" 0.0 / 0.0 | - |") == 2  # weights were not counted in files of before
    entries[0]["weight_bytes"] = [94.11e6, 178e6]
    assert " | 0.0 / 0.0 | 94.1 / 178.0 |" in markdown(entries)


def test_what_was_measured_elsewhere_is_another_line(tmp_path):
    """A sweep on a GPU and one on a CPU are two, in the table and in the picture."""
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    common = {"first": "a", "second": "b", "form": "plain", "threads": 1, "rounds": 2, "max_loops": 6, "seed": 0}
    common |= {"batch_size": 1, "static_macs": 5, "fixed_macs": 0}
    entries = [
        {
            **common, "device": device, "rate": macs / 2, "macs_mean": macs, "ratio": pace * (1 + macs),
            "latency_s": [pace * (1 + macs), 1.0], "ends_s": [pace, 1.0],
        }
        for device, pace in (("cpu", 1.0), ("cuda:0", 0.1))
        for macs in (0, 1, 2)
    ]  # fmt: skip
    table = markdown(entries)
    assert table.count("| plain | 1 | 1 | 3 | 1.0000 | 1.000 |") == 2
    assert "`a` against `b`, device cpu\n" in table
    assert "`a` against `b`, device cuda:0\n" in table
    draw_times(entries, tmp_path / "times.svg")
    drawn = (tmp_path / "times.svg").read_text()
    assert "plain, batch 1, 1 threads" in drawn
    assert "plain, batch 1, cuda:0" in drawn


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


def test_one_device_has_one_name(tmp_path, monkeypatch):
    """What was measured on auto is not measured again on cuda."""
    measured, known = [], torch.device("cuda:0")
    monkeypatch.setattr(bench, "choose_device", lambda name: known)
    monkeypatch.setattr(bench, "run_cases", lambda cases, *_: measured.extend(cases) or ())
    for device in ("auto", "cuda", "cuda:0"):
        options = ["--device", device, "--batch_sizes", "[1]", "--forms", "[plain]", "--threads", "[1]"]
        assert main(["bench", "inference", "--first", PAIR[0], "--json", str(tmp_path / "no.json"), *options]) == 0
    assert [case.device for case in measured] == ["cuda:0"] * 3


def test_a_measurement_names_its_device(tmp_path, monkeypatch):
    monkeypatch.setattr("drnn.bench.inference.measure", lambda case: {"form": case.form})
    monkeypatch.setattr("drnn.bench.inference.environment", lambda device: {"gpu": device})
    (entry,) = run_cases([Case(*PAIR, "plain", 1, 1, device="cuda:1")], 1, tmp_path / "result.json")
    assert entry["environment"] == {"gpu": "cuda:1"}


@pytest.mark.gpu
def test_peak_bytes_are_those_of_the_device():
    torch.ones(1, device="cuda")
    assert peak_bytes(lambda: torch.ones(1000) + 1, "cpu") == 8000
    assert peak_bytes(lambda: torch.ones(1000, device="cuda"), "cuda") >= 4000
