"""Several processes do what one does, lose nothing, and go on when one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from drnn.data import Share
from drnn.data.batches import part_of
from drnn.training.state import checkpoints

sys.path.insert(0, str(Path(__file__).parent))
import ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone():
    """What one process finds."""
    return ranks.run(replace(ranks.RECIPE, accumulate=1))[1]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_find_what_one_finds(processes, alone, tmp_path):
    """Gradients, rate loss included, and every test image once: 501 do not divide by 2."""
    subprocess.run(
        [*TORCHRUN, f"--nproc-per-node={processes}", ranks.__file__, str(tmp_path)],
        check=True, env=ENVIRONMENT, timeout=120, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, gradient in alone["gradients"].items():
        torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert torch.equal(found["labels"], alone["labels"])
    assert torch.equal(found["executed"], alone["executed"])
    torch.testing.assert_close(found["logits"], alone["logits"], rtol=1e-4, atol=1e-4)
    assert found["counts"]["executed_rates"] == alone["counts"]["executed_rates"]
    assert found["counts"]["train_loss"] == pytest.approx(alone["counts"]["train_loss"], rel=1e-5)


def test_the_gates_of_that_comparison_disagree(alone):
    rates = [rate for rate in alone["counts"]["executed_rates"] if rate is not None]
    assert any(0 < rate < 1 for rate in rates)
    assert any(gradient.abs().sum() > 0 for name, gradient in alone["gradients"].items() if "gate" in name)


def children(process):
    """Numbers of the processes that another started."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in listed.read_text().split()] if listed.exists() else []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_a_killed_process_is_replaced_and_the_run_finishes(tmp_path):
    command = [
        *TORCHRUN, "--nproc-per-node=2", "--max-restarts=2", "--monitor-interval=0.1", "-m", "drnn", "train", "digits",
        "--out", str(tmp_path), "--epochs", "3", "--held_out", "500", "--batch_size", "64", "--threads", "1", "--quiet",
        "--checkpoint_minutes", "0", "--overwrite",
    ]  # fmt: skip
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(checkpoints(tmp_path)) < 2:
            time.sleep(0.02)
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        said = process.communicate(timeout=200)[1]
    assert process.returncode == 0, said
    assert "going on after" in said  # --overwrite does not wipe what the first attempt saved
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["processes"] == 2
    assert summary["images"] == 500
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def stopped(folder, rank, step):
    """What each process said of a run that one of them is asked to end after a step."""
    script = Path(__file__).with_name("stopped.py")
    subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", *map(str, (script, folder, rank, step))],
        check=True, env=ENVIRONMENT, timeout=200, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    words = [folder.with_name(f"{folder.name}-rank-{number}") for number in range(2)]
    return [file.read_text() for file in words if file.is_file()]


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_end_where_one_is_asked_to_and_nothing_is_lost(rank, tmp_path):
    said = stopped(tmp_path / "run", rank, 6)
    assert len(said) == 2
    for line in said:
        assert line.startswith("143 SIGTERM received; the run is saved after 6 steps")
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-000000006.pt"]
    assert stopped(tmp_path / "run", -1, 0) == said  # nothing new
    assert stopped(tmp_path / "whole", -1, 0) == []
    weights, lines = [], []
    for folder in (tmp_path / "run", tmp_path / "whole"):
        weights.append((folder / "model.safetensors").read_bytes())
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        lines.append([{key: value for key, value in line.items() if key != "images_per_s"} for line in logged])
    assert weights[0] == weights[1]
    assert lines[0] == lines[1]


def test_batches_are_shared_evenly_or_refused():
    batch = torch.arange(12)
    assert torch.cat([part_of(batch, Share(rank, 3)) for rank in range(3)]).tolist() == batch.tolist()
    with pytest.raises(ValueError, match="a batch of 12 does not divide by 5 processes"):
        part_of(batch, Share(0, 5))
    with pytest.raises(ValueError, match="rank 2 of 2 processes"):
        Share(2, 2)
