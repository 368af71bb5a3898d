"""A script is followed to the letter, its multiply-adds are those executed, and a result file is added to."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.bench import LoopScript, script_by_rate, script_by_total
from drnn.bench.inference import cases_for, read_entries, run_cases, straight_line
from drnn.bench.measure import time_ends
from drnn.bench.memory import peak_bytes
from drnn.bench.picture import draw_times
from drnn.bench.report import markdown
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build, macs_of, share_of_loops
from drnn.cli.main import main
from drnn.costs import count_costs

PAIR = ("dr_resnet_digits", "resnet_digits")


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0, 1), seed=st.integers(0, 9))
def test_rates_are_conditional(rate, seed):
    loops = script_by_rate((3, 3, 2), rate, 4000, seed).loops
    expected = [rate + rate**2 + rate**3] * 2 + [rate + rate**2]
    torch.testing.assert_close(loops.double().mean(0), torch.tensor(expected).double(), rtol=0, atol=0.12)
    assert (loops <= torch.tensor([3, 3, 2])).all()


def test_totals_have_figure_8s_mean_and_spread():
    slots = count_costs(create_model("dr_resnet53")).slots
    script = script_by_total(slots, 11.74, 1.50, 2000, 0.7)
    assert float(script.totals.double().mean()) == pytest.approx(11.74, abs=0.001)
    assert float(script.totals.double().std()) == pytest.approx(1.5, abs=0.1)
    with pytest.raises(ValueError, match="these blocks loop 0 to 23 times"):
        script_by_total(slots, 24, 1, 5, 0.7)


@pytest.mark.parametrize("form", ["plain", "optimised"])
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
        time_ends(model, torch.randn(1, 1, 8, 8))
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
        assert entry["ratio"] == pytest.approx(entry["latency_s"][0] / entry["latency_s"][1], rel=1)
        assert entry["images"] == 6
        assert min(entry["peak_bytes"]) >= 2 * 32 * 64 * 4  # two images of the first maps
    draw_times(entries, tmp_path / "times.svg")
    assert "dr_resnet_digits" in (tmp_path / "times.svg").read_text()
    with pytest.raises(ValueError, match=r"ends in \.png"):
        draw_times(entries, tmp_path / "times.doc")
    with pytest.raises(ValueError, match="no measurements of recursive networks"):
        draw_times([], tmp_path / "none.png")
    assert "| optimised | 1 | 2 | 3 |" in markdown(entries)
    file.write_text(json.dumps([1]))
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


def test_torchvisions_own_network_is_timed_beside_ours(tmp_path):
    case = Case("torchvision/mobilenet_v2", "mobilenetv2", "plain", 1, 1)
    (entry,) = run_cases([case], 1, tmp_path / "result.json")
    assert 0.9 < entry["macs_mean"] / entry["static_macs"] < 1.1
    assert entry["efficiency"] > 0
    assert "No gates." in markdown([entry])
    with pytest.raises(ValueError, match="runs plain only"):
        Case("torchvision/mobilenet_v2", "mobilenetv2", "optimised", 1, 1)


def test_exported_files_are_timed_in_pairs_and_kept(tmp_path, capsys):
    arguments = ["bench", "export", "--first", "dr_resnet_digits", "--mean_loops", "3", "--batch_sizes", "[1,4]"]
    arguments += ["--rounds", "5", "--threads", "1", "--folder", str(tmp_path / "files")]
    assert main([*arguments, "--json", str(tmp_path / "export.json")]) == 0
    result = json.loads((tmp_path / "export.json").read_text())
    assert result["networks"] == list(PAIR)
    for part in result["efficiency"]:
        assert 0 < part["mean_loops"] < 6
        assert 0 < part["macs_ratio"] < 1
        assert part["efficiency"] > 0
    assert [part["batch_size"] for part in result["closed"]] == [1, 4]
    (folder,) = (tmp_path / "files").iterdir()
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert main([*arguments, "--json", str(tmp_path / "again.json")]) == 0
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert "gates closed / fixed part" in capsys.readouterr().out
    assert main(["bench", "export", "--batch_sizes", "[17]"]) == 2
    assert "each is 1 to 16" in capsys.readouterr().err
    assert main(["bench", "nothing"]) == 2
    assert "say what to time" in capsys.readouterr().err


def test_captured_is_for_one_image_only():
    cases = cases_for(("dr_resnet53", "resnet101"), [1, 8], ["plain", "captured"], 2, False, 0, "cuda")
    assert [(case.form, case.batch_size) for case in cases] == [("plain", 1), ("plain", 8), ("captured", 1)]
    for sizes, device in (([8], "cuda"), ([1], "cpu")):
        with pytest.raises(ValueError, match=f"'captured' received with batch size {sizes[0]} on {device}"):
            cases_for(("dr_resnet53", "resnet101"), sizes, ["captured"], 2, False, 0, device)
