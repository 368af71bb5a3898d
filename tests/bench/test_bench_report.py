"""Tables and pictures of measurements: each with its own loops, on its own device."""

import pytest

from drnn.bench.picture import draw_times
from drnn.bench.report import markdown

PAIR = ("dr_resnet_digits", "resnet_digits")


def test_rows_have_their_own_loops_and_images_a_second():
    common = {"first": "a", "second": "b", "form": "plain", "threads": 1, "rounds": 2, "rate": None, "max_loops": 6}
    common |= {"device": "cpu", "seed": 0, "environment": {"gpu": None}}
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
    common |= {"batch_size": 1, "static_macs": 5, "fixed_macs": 0, "environment": {"gpu": None}}
    entries = [
        {
            **common, "device": device, "rate": macs / 2, "macs_mean": macs, "ratio": pace * (1 + macs),
            "latency_s": [pace * (1 + macs), 1.0], "ends_s": [pace, 1.0],
        }
        for device, pace in (("cpu", 1.0), ("cuda:0", 0.1))
        for macs in (2, 1, 0)
    ]  # fmt: skip
    table = markdown(entries)
    assert table.count("| plain | 1 | 1 | 3 | 1.0000 | 1.000 |") == 2
    assert markdown([*entries[:2], {**entries[1], "rate": 0.8}]).count("| plain | 1 | 1 | 3 | 1.0000 | - |") == 1
    assert "`a` against `b`, device cpu\n" in table
    assert "`a` against `b`, device cuda:0\n" in table
    draw_times(entries, tmp_path / "times.svg")
    drawn = (tmp_path / "times.svg").read_text()
    assert "plain, batch 1, 1 threads" in drawn
    assert "plain, batch 1, cuda:0" in drawn


def test_two_cards_of_one_device_name_are_two_tables(tmp_path):
    common = {"first": "a", "second": "b", "form": "plain", "threads": 1, "rounds": 2, "max_loops": 6, "seed": 0}
    common |= {
        "batch_size": 1,
        "device": "cuda:0",
        "static_macs": 5,
        "fixed_macs": 0,
        "latency_s": [1.0, 1.0],
    }
    entries = [
        {**common, "rate": macs / 2, "macs_mean": macs, "ratio": pace * (1 + macs), "ends_s": [1.0],
         "environment": {"gpu": gpu}}
        for gpu, pace in (("H100", 1.0), ("H200", 0.5)) for macs in (2, 1, 0)
    ]  # fmt: skip
    table = markdown(entries)
    assert table.count("| plain | 1 | 1 | 3 | 1.0000 | 1.000 |") == 2
    assert "`a` against `b`, gpu H100\n" in table
    assert "`a` against `b`, gpu H200\n" in table
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    draw_times(entries, tmp_path / "times.svg")
    drawn = (tmp_path / "times.svg").read_text()
    assert "plain, batch 1, cuda:0, H100" in drawn
    assert "plain, batch 1, cuda:0, H200" in drawn
