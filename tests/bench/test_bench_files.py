"""A measurement says what it is and where, and a result file is added to."""

import json

import pytest

from drnn import create_model
from drnn.bench.inference import read_entries, run_cases, straight_line
from drnn.bench.measure import measure
from drnn.bench.picture import draw_times
from drnn.bench.report import markdown
from drnn.bench.subjects import Case, script_for
from drnn.costs import count_costs, count_params

PAIR = ("dr_resnet_digits", "resnet_digits")


def test_a_measurement_says_what_it_is_and_a_file_is_added_to(tmp_path):
    file = tmp_path / "result.json"
    cases = [Case(*PAIR, form, 2, 3) for form in ("plain", "optimised")]
    assert len(list(run_cases(cases, 1, file, limit=1))) == 1
    assert len(list(run_cases(cases, 1, file))) == 1
    assert list(run_cases(cases, 1, file)) == []
    entries = read_entries(file)
    script = script_for(cases[0], create_model(PAIR[0]))
    costs = count_costs(create_model(PAIR[0]))
    macs = costs.macs_per_image(script.record(costs.slots)).view(3, 2).double().mean(1)  # of each round, an image
    assert macs.min() < macs.max()
    for entry in entries:
        assert entry["macs_mean"] == pytest.approx(float(macs.mean()))
        spent = entry["efficiency"] * entry["static_macs"] * entry["ratio"]  # of the round in the middle
        assert 0.999 * macs.min() < spent < 1.001 * macs.max()
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


@pytest.mark.parametrize(("field", "value"), [("commit", "0123456789ab"), ("gpu", "another card")])
def test_what_another_commit_or_gpu_measured_can_be_measured_again_in_its_place(field, value, tmp_path):
    file = tmp_path / "result.json"
    cases = [Case(*PAIR, form, 2, 1) for form in ("plain", "optimised")]
    list(run_cases(cases, 1, file))
    entries = read_entries(file)
    entries[0]["environment"][field] = value
    file.write_text(json.dumps({"entries": entries}))
    assert list(run_cases(cases, 1, file)) == []
    (again,) = run_cases(cases, 1, file, renew=True)
    assert again["form"] == "plain"
    assert read_entries(file) == [entries[1], again]
    assert list(run_cases(cases, 1, file, renew=True)) == []


def test_efficiency_is_the_ratio_of_speeds_over_that_of_multiply_adds():
    entry = measure(Case(*PAIR, "plain", 2, 1))
    ours_s, theirs_s = entry["latency_s"]
    assert entry["ratio"] == pytest.approx(ours_s / theirs_s)
    assert entry["efficiency"] * entry["static_macs"] / entry["macs_mean"] == pytest.approx(theirs_s / ours_s)


def test_the_straight_line_in_closed_form():
    entries = [  # the machine slows down from one to the next; the static network takes pace seconds
        {"rate": m / 5, "macs_mean": m, "ratio": 1 + 2 * m, "latency_s": [pace * (1 + 2 * m)], "ends_s": [pace]}
        for m, pace in ((5.0, 3.0), (2.0, 1.2), (1.0, 1.5), (0.0, 1.0))
    ]
    assert straight_line(entries[:3])["rest"] is None  # stopped before the gates were closed
    assert straight_line(entries) == pytest.approx({"r2": 1.0, "rest": 1.0, "points": 4})
    entries[1]["ratio"] = 9.0
    assert straight_line(entries)["r2"] < 0.9
    with pytest.raises(ValueError, match="2 rates received"):
        straight_line(entries[:2])


def test_a_measurement_names_its_device(tmp_path, monkeypatch):
    monkeypatch.setattr("drnn.bench.inference.measure", lambda case: {"form": case.form})
    monkeypatch.setattr("drnn.bench.inference.environment", lambda device: {"gpu": device})
    (entry,) = run_cases([Case(*PAIR, "plain", 1, 1, device="cuda:1")], 1, tmp_path / "result.json")
    assert entry["environment"] == {"gpu": "cuda:1"}
