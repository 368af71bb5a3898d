"""Experiments as sets of runs: what is planned, run, stopped, resumed, written and tabled."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from drnn.cli.main import main
from drnn.costs import count_costs
from drnn.models import create_model
from drnn.reproduce import Job, ablation, result_of, run_jobs, runner, table1
from drnn.reproduce.plan import ROWS, VARIANTS
from drnn.reproduce.report import table1_markdown
from drnn.reproduce.result import read_results
from drnn.reproduce.runner import command
from drnn.reproduce.times import time_rows
from drnn.storage import write_json
from drnn.tables import TABLE1
from drnn.training import evaluate_source, find_recipe
from drnn.training.checkpoint import load_run
from drnn.training.network import save_weights
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import read_metrics

TINY = {"epochs": 2, "batch_size": 128, "train_images": 300, "threads": 1, "ema_decay": 0.5}


def job(root: Path, name: str, base: str = "digits", row: str = "dr_resnet16", **changes) -> Job:
    changes = {**TINY, **changes}
    recipe = recipe_from_dict(changes, find_recipe(base))
    return Job(row, "short", recipe, base, changes, root / "runs" / name, root / "short" / f"{name}.json")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs of digits, side by side, done by the runner."""
    root = tmp_path_factory.mktemp("reproduce")
    jobs = [job(root, "dr_resnet16-0"), job(root, "resnet20-0", "digits-static", "resnet20")]
    lines: list[str] = []
    outcomes = run_jobs(jobs, 2, report=lines.append)
    return jobs, outcomes, lines


def test_table1_plans_every_row_with_the_first_seed_first(tmp_path):
    jobs = table1([], "paper", [0, 1], {}, tmp_path / "runs", tmp_path / "results")
    assert [(each.row, each.recipe.seed) for each in jobs] == [(row, seed) for seed in (0, 1) for row in ROWS]
    assert sorted(ROWS) == sorted(row.model.removesuffix("_cifar") for row in TABLE1)
    assert jobs[0].file == tmp_path / "results/paper/dr_resnet16-0.json"
    assert {(each.recipe.epochs, each.recipe.batch_size) for each in jobs} == {(350, 256)}
    short = table1(["resnet20"], "short", [0], {"epochs": 3, "train_images": 500}, tmp_path, tmp_path)
    assert short[0].file == tmp_path / "short-3-epochs-500-images/resnet20-0.json"  # not taken for the 20 epochs
    (uncut,) = table1(["resnet20"], "short", [0], {"cutout": 0}, tmp_path, tmp_path)
    assert (uncut.label, uncut.recipe.cutout) == ("short-0-cutout", 0)
    (same,) = table1(
        ["resnet20"], "short", [0], {"cutout": 16, "epochs": 20, "padding_mode": "zeros"}, tmp_path, tmp_path
    )
    assert same.label == "short"  # nothing was changed
    (mirrored,) = table1(["resnet20"], "short", [0], {"padding_mode": "reflect"}, tmp_path, tmp_path)
    assert (mirrored.label, mirrored.recipe.padding_mode) == ("short-reflect-padding", "reflect")


@pytest.mark.parametrize(
    ("rows", "schedule", "seeds", "says"),
    [
        (["resnet_20"], "paper", [0], "there is no row 'resnet_20'; did you mean 'resnet20'"),
        ([], "papr", [0], "there is no recipe 'papr'; did you mean 'paper'"),
        ([], "paper", [], "no seeds received"),
    ],
)
def test_table1_refuses_what_is_not_there(rows, schedule, seeds, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        table1(rows, schedule, seeds, {}, tmp_path, tmp_path)


def test_the_ablation_takes_the_networks_parts_away(tmp_path):
    jobs = ablation("dr_resnet16", "short", [0], {"threads": 1}, tmp_path, tmp_path)
    assert [each.row for each in jobs] == list(VARIANTS)
    assert len({each.file for each in jobs}) == len({each.folder for each in jobs}) == len(VARIANTS)
    naive, full = jobs[0].recipe, jobs[3].recipe
    assert (jobs[0].label, naive.held_out) == ("short", 5000)
    for changes, says in (
        ({"held_out": 0}, "one held-out image or more"),
        ({"gate_noise": "none"}, "gate_noise received"),
        ({"every_loop_weight": 1.0}, "every_loop_weight received; naive and L have no gates"),
    ):
        with pytest.raises(ValueError, match=says):
            ablation("dr_resnet16", "short", [0], changes, tmp_path, tmp_path)
    (fewer, *_) = ablation("dr_resnet16", "short", [0], {"held_out": 1000}, tmp_path, tmp_path)
    assert (fewer.label, fewer.recipe.held_out) == ("short-1000-held-out", 1000)
    assert (naive.gate, naive.norm, full.gate, full.norm) == ("open", "shared", None, "ilvbn")
    with pytest.raises(ValueError, match="choose one that begins with dr_"):
        ablation("resnet20", "short", [0], {}, tmp_path, tmp_path)


def test_runs_side_by_side_leave_one_result_each(two):
    jobs, outcomes, lines = two
    assert [each.state for each in outcomes] == ["finished", "finished"]
    assert len([line for line in lines if "written to" in line]) == 2
    for each in jobs:
        result = json.loads(each.file.read_text())
        model, _, dataset = load_run(each.folder)
        evaluation = evaluate_source(model, dataset)
        assert result["error"] == 1 - evaluation.acc1 == read_metrics(each.folder)[-1]["test_error"]
        assert result["macs_std"] == pytest.approx(float(evaluation.macs.double().std(correction=0)))
        average = evaluate_source(load_run(each.folder, average=True)[0], dataset)
        assert result["average"]["error"] == 1 - average.acc1
        assert [line["epoch"] for line in result["epochs"]] == [1, 2]
        assert result["recipe"]["epochs"] == 2
        assert {"data_root", "device"}.isdisjoint(result["recipe"])
        assert result["trained_on"][0]["threads"] >= 1
        assert "command" not in result["trained_on"][0]


def test_a_result_that_is_there_is_not_made_again(two):
    jobs, *_ = two
    before = [each.file.stat().st_mtime_ns for each in jobs]
    lines: list[str] = []
    assert [each.state for each in run_jobs(jobs, 1, report=lines.append)] == ["finished", "finished"]
    assert lines == []
    assert [each.file.stat().st_mtime_ns for each in jobs] == before


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path):
    bad = job(tmp_path, "bad", dataset="cifar10", data_root=str(tmp_path / "nothing"))
    lines: list[str] = []
    outcomes = run_jobs([bad, job(tmp_path, "good")], 1, report=lines.append)
    assert [each.state for each in outcomes] == ["failed", "finished"]
    assert not bad.file.exists()
    assert any("bad: failed with code 2" in line and "nothing" in line for line in lines)


def test_a_spent_budget_saves_the_runs_and_the_next_call_goes_on(tmp_path, monkeypatch):
    long = job(tmp_path, "long", epochs=40)
    lines: list[str] = []
    clock = SimpleNamespace(monotonic=lambda: 61.0 if read_metrics(long.folder) else 0.0, sleep=time.sleep)
    monkeypatch.setattr(runner, "time", clock)  # a minute is over once the run has an epoch
    outcomes = run_jobs([long, job(tmp_path, "never")], 1, 1.0, report=lines.append)
    assert [each.state for each in outcomes] == ["stopped", "not begun"]
    monkeypatch.undo()
    done = len(read_metrics(long.folder))
    assert done < 40
    assert not long.file.exists()
    assert not (tmp_path / "runs/never").exists()
    assert [each.state for each in run_jobs([long], 1, report=lines.append)] == ["finished"]
    result = json.loads(long.file.read_text())
    assert [line["epoch"] for line in result["epochs"]] == list(range(1, 41))
    assert len(result["trained_on"]) == 2  # a second machine, or the same one later


def test_a_begun_run_goes_on_with_the_threads_asked_for_now(two):
    begun = two[0][0]
    other = job(begun.folder.parent.parent, begun.folder.name, threads=7)
    text = command(other, {"device": "cpu"})
    assert text[text.index("--threads") + 1] == "7"
    assert text[text.index("--device") + 1] == "cpu"


def test_weights_of_another_run_are_refused(two, tmp_path):
    shutil.copytree(two[0][0].folder, tmp_path / "runs/mixed")
    mixed = job(tmp_path, "mixed")
    assert result_of(mixed)["error"] == json.loads(two[0][0].file.read_text())["error"]
    for name, average in (("model-ema.safetensors", True), ("model.safetensors", False)):
        model, *_ = load_run(mixed.folder, average=average)
        with torch.no_grad():
            model.fc.bias[0] += 1e-6  # errs on as many images
        save_weights(mixed.folder / name, model)
        with pytest.raises(ValueError, match="other weights than the run ended with"):
            result_of(mixed)
        shutil.copy(two[0][0].folder / name, mixed.folder / name)


def test_a_summary_without_fingerprints_is_made_again_from_the_last_checkpoint(two, tmp_path):
    shutil.copytree(two[0][0].folder, tmp_path / "runs/older")
    older, summary = job(tmp_path, "older"), tmp_path / "runs/older/summary.json"
    fields = json.loads(summary.read_text())
    summary.write_text(json.dumps({key: fields[key] for key in fields if not key.endswith("sha256")}))
    with pytest.raises(ValueError, match=r"summary\.json has no weights_sha256; remove it and run the command again"):
        result_of(older)
    summary.unlink()
    assert [each.state for each in run_jobs([older], 1)] == ["finished"]
    assert json.loads(older.file.read_text())["error"] == json.loads(two[0][0].file.read_text())["error"]


def test_the_table_has_means_spreads_and_measured_times(two, tmp_path):
    jobs, folder = two[0], tmp_path / "short"
    folder.mkdir()
    result = json.loads(jobs[0].file.read_text())
    for seed, error in enumerate((0.08, 0.10)):
        ours = {**result, "seed": seed, "recipe": {**result["recipe"], "seed": seed}, "error": error}
        (folder / f"dr_resnet16-{seed}.json").write_text(json.dumps(ours))
    line = table1_markdown(folder).splitlines()[2]
    assert "| dr_resnet16 | 8.14 | 9.00 +- 1.41 |" in line
    assert "| 2 | 0.18 |" in line  # runs, the paper's parameters
    assert line.endswith("| - | - |")  # nothing was timed
    (written,) = time_rows(jobs, 32, 3).values()
    ours = written["dr_resnet16"]
    assert ours["ms"] > 0
    timed = table1_markdown(jobs[0].file.parent).splitlines()[2]
    assert timed.endswith(f"| {ours['ms']:.3f} / {ours['against_ms']:.3f} | {ours['ratio']:.2f} |")


def test_a_control_that_the_paper_has_not_is_run_on_request_and_has_no_cells_of_it(two, tmp_path):
    (control,) = table1(["resnet16"], "short", [0], {}, tmp_path, tmp_path)
    costs, ours = count_costs(create_model(control.recipe.model)), count_costs(create_model("dr_resnet16_cifar"))
    assert not costs.slots
    assert ours.fixed_macs < costs.max_macs < ours.max_macs
    result = json.loads(two[0][1].file.read_text())
    write_json(tmp_path / "short/resnet16-0.json", {**result, "row": "resnet16"})
    (line,) = [row for row in table1_markdown(tmp_path / "short").splitlines() if "resnet16" in row]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert (cells[1], cells[5], cells[7]) == ("-", "-", "-")


@pytest.mark.parametrize(
    "text", ["{", '{"row": "nobody", "seed": 0}', "[]", '{"row": "resnet20", "seed": 0}', "7", '{"row": ["resnet20"]}']
)
def test_a_damaged_result_is_named(text, tmp_path):
    (tmp_path / "resnet20-0.json").write_text(text)
    with pytest.raises(ValueError, match=r"resnet20-0\.json is no result of drnn reproduce"):
        read_results(tmp_path)


def test_a_result_of_no_row_or_no_recipe_is_named(two, tmp_path):
    result = json.loads(two[0][1].file.read_text())
    for spoilt in ({"row": "nobody"}, {"recipe": {"colour": 1}}, {"error": "0.1"}, {"seed": None}):
        write_json(tmp_path / "short/resnet20-0.json", {**result, **spoilt})
        with pytest.raises(ValueError, match=r"resnet20-0\.json is no result of drnn reproduce"):
            read_results(tmp_path / "short")


def test_the_command_says_what_it_would_run(tmp_path, capsys):
    where = ["--runs", str(tmp_path / "r"), "--results", str(tmp_path / "f"), "--dry_run"]
    assert main(["reproduce", "table1", "--rows", "resnet20, dr_resnet16", "--seeds", "0,1", *where]) == 0
    assert capsys.readouterr().out.count("after 0 of 350 epochs") == 4
    assert main(["reproduce", "ablation", "--recipe", "short", *where]) == 0
    assert capsys.readouterr().out.count("of 20 epochs") == len(VARIANTS)
    assert main(["reproduce", "table1", "--seeds", "one", *where]) == 2
    assert "seeds 'one' received" in capsys.readouterr().err


def test_the_command_returns_1_where_a_run_failed(tmp_path, capsys):
    where = ["--runs", str(tmp_path / "r"), "--results", str(tmp_path / "f"), "--data_root", str(tmp_path / "none")]
    assert main(["reproduce", "table1", "--rows", "resnet20", "--recipe", "short", *where]) == 1
    assert "failed" in capsys.readouterr().out
