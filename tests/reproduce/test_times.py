"""Times of runs beside the table: against a static counterpart, and of the weights that the results are of."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from drnn.provenance import environment
from drnn.reproduce.plan import ROWS
from drnn.reproduce.report import table1_markdown
from drnn.reproduce.times import STATIC, time_rows

sys.path.insert(0, str(Path(__file__).parent))
from experiment import cells, change

SHORT = Path(__file__).parents[2] / "results" / "cifar10" / "short"


def test_every_row_is_timed_against_a_static_one():
    assert {STATIC[row] for row in ROWS} == {"resnet20", "resnet56", "resnet110"}
    assert [row for row in ROWS if STATIC[row] == row] == ["resnet20", "resnet110", "resnet56"]


def test_a_row_timed_alone_still_meets_its_static_counterpart(here):
    folder, jobs = here
    (written,) = time_rows([jobs["dr_resnet16", 1]], 64, 3).values()
    timed = written["dr_resnet16"]
    assert (timed["against"], timed["seed"], timed["against_seed"]) == ("resnet20", 1, 1)
    assert timed["ratio"] != 1
    assert (timed["device"], timed["rounds"], timed["batch_size"]) == ("cpu", 3, 64)
    assert timed["environment"]["commit"] == environment("cpu")["commit"]
    for key, row in (("weights_sha256", "dr_resnet16"), ("against_weights_sha256", "resnet20")):
        assert timed[key] == json.loads(jobs[row, 1].file.read_text())["weights_sha256"]
    table = table1_markdown(folder)
    assert cells(table, "dr_resnet16")[-2:] == [
        f"{timed['ms']:.3f} / {timed['against_ms']:.3f}", f"{timed['ratio']:.2f}"
    ]  # fmt: skip
    where = timed["environment"]
    assert table.endswith(
        f"\nTimes of dr_resnet16: seed 1, 3 pairs of batches of 64, device cpu, {where['processor']}, "
        f"threads {where['threads']}, commit {where['commit']}, {where['date'][:10]}.\n"
    )


def test_batches_hold_no_more_images_than_there_are(here):
    _, jobs = here
    (written,) = time_rows([jobs["resnet20", 0]], 5000, 1).values()
    assert written["resnet20"]["batch_size"] == 599


def test_without_its_static_counterpart_a_row_has_no_ratio(here):
    folder, jobs = here
    lines: list[str] = []
    (written,) = time_rows([jobs["aig_resnet110", 0]], 64, 2, report=lines.append).values()
    assert lines == ["aig_resnet110: timed alone; no run of resnet110 is here"]
    timed = written["aig_resnet110"]
    assert (timed["against"], timed["against_ms"], timed["ratio"]) == (None, None, None)
    assert cells(table1_markdown(folder), "aig_resnet110")[-2:] == [f"{timed['ms']:.3f} / -", "-"]
    (folder / "resnet110-0.json").write_text(
        jobs["resnet20", 0].file.read_text().replace('"row": "resnet20"', '"row": "resnet110"')
    )
    shutil.copytree(jobs["resnet20", 0].folder, jobs["resnet20", 0].folder.with_name("resnet110-0"))
    (written,) = time_rows([jobs["aig_resnet110", 0]], 64, 2, report=lines.append).values()
    assert written["aig_resnet110"]["against"] == "resnet110"


def test_timing_adds_rows_and_passes_over_runs_that_are_not_here(here):
    folder, jobs = here
    shutil.copy(SHORT / "times.json", folder)  # of long ago: environment and batch size once for all rows
    old = json.loads((folder / "times.json").read_text())
    lines: list[str] = []
    shutil.rmtree(jobs["dr_resnet16", 0].folder)
    shutil.rmtree(jobs["dr_resnet16", 1].folder)
    (written,) = time_rows(list(jobs.values()), 64, 2, report=lines.append).values()
    assert list(written) == ["resnet20", "aig_resnet110"]
    assert [line for line in lines if line.startswith("dr_")] == [
        *(f"dr_resnet16: no run of seed {seed} in {jobs['dr_resnet16', seed].folder}" for seed in (0, 1)),
        "dr_resnet16: not timed",
    ]
    rows = json.loads((folder / "times.json").read_text())["rows"]
    assert rows["dr_resnet16"] == {
        **old["rows"]["dr_resnet16"], "environment": old["environment"], "batch_size": 256
    }  # fmt: skip
    assert rows["resnet20"]["against"] == "resnet20"


def test_times_of_other_weights_are_not_shown(here):
    folder, jobs = here
    time_rows([jobs["dr_resnet16", 0], jobs["resnet20", 0]], 64, 2)
    assert cells(table1_markdown(folder), "dr_resnet16")[-1] != "-"
    change(jobs["resnet20", 0].file, weights_sha256="of another run")  # one side of the pair is enough
    table = table1_markdown(folder)
    assert cells(table, "resnet20")[-2:] == cells(table, "dr_resnet16")[-2:] == ["-", "-"]
    assert "Times of" not in table


@pytest.mark.parametrize(
    ("written", "shown"), [("2026-11-25T02:00:00+00:00", True), ("2026-11-25T03:00:00+00:00", False)]
)
def test_times_without_a_fingerprint_are_of_results_that_are_older(written, shown, tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    for seed in (0, 1):
        file = tmp_path / f"short/dr_resnet16-{seed}.json"
        change(file, environment={**json.loads(file.read_text())["environment"], "date": written})
    table = table1_markdown(tmp_path / "short")
    assert (cells(table, "dr_resnet16")[-2:] == ["1.082 / 1.262", "0.88"]) == shown
    assert ("Times of dr_resnet16, resnet20: seed -, 20 pairs of batches of 256, device -, AMD EPYC" in table) == shown
    assert cells(table, "resnet20")[-2:] == ["1.518 / 1.499", "1.00"]


@pytest.mark.parametrize("fingerprint", [True, False])
def test_a_run_that_is_not_the_one_of_its_result_is_not_timed(fingerprint, here):
    jobs = here[1]
    result = json.loads(jobs["resnet20", 0].file.read_text())
    if fingerprint:
        result["weights_sha256"] = "of another run"
    else:
        del result["weights_sha256"]
        jobs["resnet20", 0].file.write_text(json.dumps(result))
        assert time_rows([jobs["resnet20", 0]], 64, 2)  # the run began when the result says
        result["trained_on"][0]["date"] = "2020-01-01T00:00:00+00:00"
    jobs["resnet20", 0].file.write_text(json.dumps(result))
    lines: list[str] = []
    assert time_rows([jobs["resnet20", 0]], 64, 2, report=lines.append) == {}
    assert "resnet20-0 holds another run than the one its result is of" in lines[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": {"resnet20": {"ms": 1}}}'])
def test_damaged_times_are_named(text, tmp_path):
    shutil.copytree(SHORT, tmp_path / "short")
    (tmp_path / "short/times.json").write_text(text)
    with pytest.raises(ValueError, match=r"times\.json holds no times of drnn reproduce .*; remove it and time again"):
        table1_markdown(tmp_path / "short")
