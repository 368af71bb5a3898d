"""What `drnn reproduce` plans from its options, and what it does around the runs."""

from pathlib import Path

import pytest
import torch

from drnn.cli import reproduce
from drnn.cli.main import main
from drnn.reproduce import ablation, table1
from drnn.reproduce.plan import VARIANTS
from drnn.reproduce.runner import Outcome, command


@pytest.fixture
def calls(monkeypatch):
    """What the command does, without doing it; the states of the runs."""
    done: dict = {"calls": [], "states": ["finished"]}

    def run_jobs(jobs, parallel, budget, places):
        done["calls"].append(("run", parallel, places))
        return [Outcome(job, done["states"][at % len(done["states"])]) for at, job in enumerate(jobs)]

    monkeypatch.setattr(reproduce, "run_jobs", run_jobs)
    monkeypatch.setattr(reproduce, "time_rows", lambda *_: done["calls"].append(("time",)))
    monkeypatch.setattr(reproduce, "table1_markdown", lambda folder: done["calls"].append(("table",)) or "table")
    monkeypatch.setattr(
        reproduce, "load_dataset", lambda *given, **also: done["calls"].append(("load", *given, *also.values()))
    )  # fmt: skip
    return done


def places(tmp_path):
    return ["--runs", str(tmp_path / "r"), "--results", str(tmp_path / "f"), "--device", "cpu"]


def test_a_row_named_twice_is_run_once(tmp_path, capsys):
    where = [*places(tmp_path), "--dry_run"]
    assert main(["reproduce", "ablation", "--rows", "dr_resnet16,dr_resnet16", *where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(VARIANTS)
    assert main(["reproduce", "table1", "--rows", "resnet20,resnet20", "--seeds", "0,0", *where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_cannot_be_meant_is_refused(tmp_path, capsys, calls):
    for rows in (",", "", " , "):
        assert main(["reproduce", "table1", "--rows", rows, *places(tmp_path)]) == 2
        assert f"rows {rows!r} received; name one or more" in capsys.readouterr().err
    assert main(["reproduce", "ablation", "--time", *places(tmp_path)]) == 2
    assert "only table1 has times" in capsys.readouterr().err
    assert calls["calls"] == []


def test_the_data_set_is_fetched_once_before_the_runs(tmp_path, calls):
    where = [*places(tmp_path), "--data_root", "here"]
    assert main(["reproduce", "table1", "--rows", "resnet20,resnet16", "--download", *where]) == 0
    assert calls["calls"][0] == ("load", "cifar10", "here", True)
    assert "download" not in calls["calls"][1][2]
    assert len(calls["calls"]) == 2


@pytest.mark.parametrize("state", ["not begun", "stopped", "failed"])
def test_nothing_is_timed_until_all_is_finished(state, tmp_path, capsys, calls):
    calls["states"] = ["finished", state]
    code = main(["reproduce", "table1", "--rows", "resnet20,resnet16", "--time", *places(tmp_path)])
    assert code == (1 if state == "failed" else 0)
    assert ("time",) not in calls["calls"]
    assert "nothing is timed: 1 of 2 runs are not finished" in capsys.readouterr().out


def test_the_table_is_printed_before_the_timing_and_after_it(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(reproduce, "is_done", lambda job: True)
    (tmp_path / "f/short").mkdir(parents=True)
    (tmp_path / "f/short/resnet20-0.json").write_text("{}")
    assert main(["reproduce", "table1", "--rows", "resnet20", "--recipe", "short", "--time", *places(tmp_path)]) == 0
    assert [each[0] for each in calls["calls"]] == ["run", "table", "time", "table"]


def test_a_table_that_cannot_be_made_hides_no_outcome(tmp_path, capsys, calls, monkeypatch):
    def foreign(folder):
        raise ValueError(f"{folder} holds a foreign file")

    monkeypatch.setattr(reproduce, "table1_markdown", foreign)
    calls["states"] = ["stopped"]
    (tmp_path / "f/short").mkdir(parents=True)
    (tmp_path / "f/short/resnet20-0.json").write_text("{}")
    assert main(["reproduce", "table1", "--rows", "resnet20", "--recipe", "short", *places(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "resnet20-0.json: stopped" in said.out
    assert "holds a foreign file" in said.err


def test_the_dry_run_says_what_is_in_the_way(tmp_path, capsys):
    where = [*places(tmp_path), "--dry_run"]
    (tmp_path / "f/paper").mkdir(parents=True)
    (tmp_path / "f/paper/resnet20-0.json").write_text("{")
    assert main(["reproduce", "table1", "--rows", "resnet20,resnet16", *where]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "is no result of drnn reproduce" in first
    assert second.endswith("after 0 of 350 epochs")


def test_what_is_changed_of_a_recipe_is_kept_apart_and_reaches_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    where = [*places(tmp_path), "--device", "cpu", "--dry_run"]
    changed = ["--gate", "linear", "--gate_noise", "training", "--target_rate", "0.9", "--rate_weight", "0.5"]
    changed += ["--every_loop_weight", "1", "--zero_init_loops", "true", "--clip_norm", "1", "--precision", "bf16"]
    assert main(["reproduce", "table1", "--rows", "dr_resnet16", "--held_out", "5000", *changed, *where]) == 0
    label = "paper-5000-held-out-linear-gate-training-noise-0.9-target-0.5-lambda"
    label += "-1.0-every-loop-zero-init-1.0-clip-bf16-precision"
    assert str(tmp_path / "f" / label / "dr_resnet16-0.json") in capsys.readouterr().out
    (job,) = table1(["dr_resnet16"], "paper", [0], {"held_out": 5000, "gate": "open"}, tmp_path, tmp_path)
    assert (job.recipe.held_out, job.recipe.gate) == (5000, "open")
    for field in ("target_rate", "rate_weight", "every_loop_weight"):
        option = [f"--{field}", "0.9"]
        assert main(["reproduce", "table1", "--rows", "dr_resnet16,resnet20", *option, *where]) == 2
        assert f"{field} received; resnet20 has no gates" in capsys.readouterr().err
        assert main(["reproduce", "table1", "--rows", "aig_resnet110", *option, *where]) == 0
    assert main(["reproduce", "table1", "--rows", "aig_resnet110", "--gate", "linear", *where]) == 2
    assert "gate received; aig_resnet110 has no gates or loops that it changes" in capsys.readouterr().err
    for idle in (["--gate_noise", "training"], ["--target_rate", "0.9"], ["--rate_weight", "1"]):
        assert main(["reproduce", "table1", "--rows", "dr_resnet16", "--gate", "open", *idle, *where]) == 2
        assert f"{idle[0][2:]} received with gate open, which is no gate: leave it out" in capsys.readouterr().err
    assert (
        main(["reproduce", "table1", "--rows", "dr_resnet16", "--gate", "open", "--zero_init_loops", "true", *where])
        == 0
    )
    assert main(["reproduce", "table1", "--rows", "aig_resnet110", "--zero_init_loops", "true", *where]) == 2
    assert "zero_init_loops received; aig_resnet110 has no gates or loops that it changes" in capsys.readouterr().err
    assert main(["reproduce", "table1", "--rows", "dr_resnet16", "--gate", "ajar", *where]) == 2
    assert "gate = 'ajar' is no name of one; choose 'hidden', 'linear', 'open'" in capsys.readouterr().err


def test_where_runs_begin_is_kept_apart_by_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/of/mine/resnet20-1").mkdir(parents=True)
    (tmp_path / "runs/of/mine/resnet20-1/model.safetensors").write_bytes(b"weights")
    where = [*places(tmp_path), "--dry_run"]
    changed = ["--epochs", "20", "--lr", "0.01", "--initial_weights", "runs/of/mine/resnet20-1"]
    assert main(["reproduce", "table1", "--rows", "dr_resnet16", *changed, *where]) == 0
    assert str(tmp_path / "f/paper-20-epochs-0.01-lr-resnet20-1-weights/dr_resnet16-0.json") in capsys.readouterr().out
    for place, label in (("runs/a/model.safetensors", "a"), ("runs/b/model.pth", "b"), (".", Path.cwd().name)):
        (job,) = table1(["dr_resnet16"], "paper", [0], {"initial_weights": place}, tmp_path, tmp_path)
        assert job.label == f"paper-{label}-weights"
    changes = {"initial_weights": "runs/of/mine/resnet20-1", "lr": 0.01}
    (job,) = table1(["dr_resnet16"], "paper", [0], changes, tmp_path, tmp_path)
    assert (job.recipe.initial_weights, job.recipe.lr) == ("runs/of/mine/resnet20-1", 0.01)


def test_a_beginning_that_cannot_be_is_said_before_anything_runs(tmp_path, capsys):
    asked = ["reproduce", "table1", "--rows", "dr_resnet16", "--initial_weights", str(tmp_path / "none"), "--dry_run"]
    assert main([*asked, *places(tmp_path)]) == 1
    assert f"initial_weights {tmp_path / 'none'} received; there is no file" in capsys.readouterr().out
    assert main([*asked, "--zero_init_loops", "true", *places(tmp_path)]) == 2
    assert "zero_init_loops received with initial_weights" in capsys.readouterr().err


def test_bf16_is_refused_before_a_run_begins_where_nothing_computes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    asked = ["reproduce", "table1", "--rows", "resnet20", "--device", "cpu", "--precision"]
    assert main([*asked, "float32", *places(tmp_path), "--dry_run"]) == 0
    assert main([*asked, "bf16", *places(tmp_path), "--dry_run"]) == 2
    assert "precision bf16 received, which this cpu device has no instructions for" in capsys.readouterr().err


def test_another_length_keeps_the_shape_of_the_papers_schedule(tmp_path, capsys):
    (job,) = table1(["resnet20"], "paper", [0], {"epochs": 100}, tmp_path, tmp_path)
    assert (job.label, job.recipe.milestones) == ("paper-100-epochs", (43, 71))
    (same,) = table1(["resnet20"], "paper", [0], {"epochs": 350}, tmp_path, tmp_path)
    assert (same.label, same.recipe.milestones) == ("paper", (150, 250))
    (least,) = table1(["resnet20"], "paper", [0], {"epochs": 3}, tmp_path, tmp_path)
    assert least.recipe.milestones == (1, 2)
    for epochs in (1, 2):
        with pytest.raises(ValueError, match=f"epochs {epochs} received; this schedule divides the learning rate at"):
            table1(["resnet20"], "paper", [0], {"epochs": epochs}, tmp_path, tmp_path)
    where = [*places(tmp_path), "--dry_run"]
    assert main(["reproduce", "table1", "--rows", "resnet20", "--epochs", "100", *where]) == 0
    assert "after 0 of 100 epochs; learning rate divided after 43 and 71 epochs" in capsys.readouterr().out


def test_scaled_milestones_reach_the_command_of_the_run(tmp_path, capsys):
    (job,) = table1(["resnet20"], "paper", [0], {"epochs": 100}, tmp_path, tmp_path)
    words = command(job, {})
    assert main([*words[words.index("train") :], "--print_recipe"]) == 0
    assert "epochs: 100\n" in (said := capsys.readouterr().out)
    assert "milestones:\n- 43\n- 71\n" in said


@pytest.mark.parametrize(("schedule", "epochs"), [("short", 2), ("modern", 5), ("short", 1)])
def test_a_length_that_is_all_warm_up_is_refused(schedule, epochs, tmp_path):
    with pytest.raises(ValueError, match=f"epochs {epochs} received; the first . of this schedule only raise"):
        table1(["resnet20"], schedule, [0], {"epochs": epochs}, tmp_path, tmp_path)
    assert table1(["resnet20"], schedule, [0], {"epochs": 6}, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train_images", "100"], "100 training images are left for batches of 256"),
        (["--held_out", "49900"], "100 training images are left for batches of 256"),
        (["--held_out", "50000"], "0 training images are left for batches of 256"),
        (
            ["--held_out", "5000", "--train_images", "45001"],
            "45001 images to train on received; 45000 are left of 50000",
        ),
    ],
)
@pytest.mark.parametrize("what", [["table1", "--rows", "resnet20,dr_resnet16"], ["ablation"]])
def test_images_that_are_too_few_are_refused_before_a_run_begins(what, options, words, tmp_path, capsys):
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["reproduce", *what, *options, *places, "--dry_run"]) == 2
    assert words in capsys.readouterr().err


def test_the_lines_of_two_networks_ablations_differ(tmp_path):
    jobs = [
        job for row in ("dr_resnet16", "dr_resnet32") for job in ablation(row, "short", [0], {}, tmp_path, tmp_path)
    ]
    assert jobs[0].name == "dr_resnet16 naive-0"
    assert len({job.name for job in jobs}) == 2 * len(VARIANTS)
    assert table1(["dr_resnet16"], "short", [1], {}, tmp_path, tmp_path)[0].name == "dr_resnet16-1"
