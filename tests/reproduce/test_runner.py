"""Experiments that are stopped, disturbed, killed, or asked for twice: no run is lost, mixed up, or left behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from drnn.reproduce import run_jobs
from drnn.reproduce.process import JobProcess
from drnn.reproduce.runner import room
from drnn.training.interrupt import Interrupted
from drnn.training.run_folder import read_metrics
from drnn.training.state import checkpoints, load_state

sys.path.insert(0, str(Path(__file__).parent))
from experiment import job, long_job

pytestmark = pytest.mark.usefixtures("hangups_are_heard")
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def nothing_trains_on(tmp_path):
    """After a test, however it ended."""
    yield
    for number in trainers(tmp_path):
        os.kill(number, signal.SIGKILL)


@contextmanager
def experiment(root: Path):
    """`experiment.py` as a process, from when its run has an epoch; the number of the process that trains."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "experiment.py"), str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or read_metrics(long_job(root).folder))
        (child,) = children(process.pid)
        yield process, child
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def children(parent: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def trainers(root: Path) -> list[int]:
    """Every process that trains below ``root``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "train" in words and any(word.startswith(f"{root}/") for word in words):
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_passed_on_and_every_run_is_saved(number, tmp_path):
    with experiment(tmp_path) as (process, child):
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
        assert process.returncode == 128 + number
        assert f"{number.name} received; every run is saved" in said
        assert not Path(f"/proc/{child}").exists()
    folder = long_job(tmp_path).folder
    assert "the run is saved after" in (folder / "train.log").read_text()
    assert load_state(folder)["batch"] + load_state(folder)["epoch"] > 0


def test_a_signal_to_every_process_as_a_cluster_sends_it_saves_too(tmp_path):
    with experiment(tmp_path) as (process, child):
        os.kill(child, signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert "every run is saved" in said
    assert "the run is saved after" in (long_job(tmp_path).folder / "train.log").read_text()


def test_a_run_whose_parent_was_killed_is_not_trained_twice(tmp_path):
    with experiment(tmp_path) as (process, child):
        process.kill()
        process.wait()
        os.kill(child, 0)  # still there
        lines: list[str] = []
        (outcome,) = run_jobs([long_job(tmp_path)], 1, 1.0, report=lines.append)  # were it trained, it would be stopped
        assert outcome.state == "failed"
        assert f"another process is training in {long_job(tmp_path).folder}; wait for it to end" in lines[-1]


def test_an_error_at_the_end_of_one_run_leaves_the_others_alone(tmp_path):
    (tmp_path / "results").write_text("a file")
    lines: list[str] = []
    quick, other = job(tmp_path, "quick"), job(tmp_path, "other", epochs=3)
    outcomes = run_jobs([quick, replace(other, file=tmp_path / "fine/other.json")], 2, report=lines.append)
    assert [each.state for each in outcomes] == ["failed", "finished"]
    assert any("quick: failed: " in line and str(tmp_path / "results") in line for line in lines)


def test_an_error_at_the_start_of_one_run_leaves_the_others_alone(tmp_path):
    bad = job(tmp_path, "bad")
    bad.folder.mkdir(parents=True)
    (bad.folder / "recipe.yaml").write_text("epochs: [\n")
    lines: list[str] = []
    outcomes = run_jobs([bad, job(tmp_path, "good")], 1, report=lines.append)
    assert [each.state for each in outcomes] == ["failed", "finished"]
    assert f"bad: failed: {bad.folder}/recipe.yaml is damaged" in lines[0]


def test_whatever_ends_the_loop_no_run_is_left_behind(tmp_path):
    def broken(line):
        if "quick" in line:
            raise BrokenPipeError("nobody listens")

    with pytest.raises(BrokenPipeError):
        run_jobs([long_job(tmp_path), job(tmp_path, "quick")], 2, report=broken)
    assert trainers(tmp_path) == []


def test_a_run_that_cannot_be_saved_when_asked_to_has_failed(tmp_path, monkeypatch):
    long, ask = long_job(tmp_path), JobProcess.ask_to_end

    def spoil(self, again=False):
        if not self.asked:
            (self.job.folder / "checkpoints").rename(self.job.folder / "kept")
            (self.job.folder / "checkpoints").write_text("no folder")
        ask(self, again)

    def ready(line):
        wait_for(lambda: read_metrics(long.folder))
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr("drnn.reproduce.runner.JobProcess.ask_to_end", spoil)

    lines: list[str] = []
    with pytest.raises(Interrupted, match=r"not saved since the last checkpoint: .*long") as told:
        run_jobs([long], 1, report=lambda line: lines.append(line) or ("after 0 of" in line and ready(line)))
    assert told.value.exit_code == 143
    assert "long: failed with code 2: drnn train: cannot write" in lines[-1]


UNSAVED = "after 0 of 1 epochs; what came since its last checkpoint is not saved"


@pytest.mark.parametrize(
    ("program", "state", "words", "lost"),
    [
        ("sys.exit(143)", "stopped", "after 0 of 1 epochs", False),
        ("sys.exit(129)", "stopped", "after 0 of 1 epochs", False),
        ("os.kill(os.getpid(), 15)", "stopped", UNSAVED, True),
        ("print('x: the run is saved', flush=True); os.kill(os.getpid(), 15)", "stopped", "after 0 of 1 epochs", False),
        ("os.kill(os.getpid(), 9)", "failed", "failed with code -9: hello", True),
        ("sys.exit(2)", "failed", "failed with code 2: hello", True),
        ("sys.exit(0)", "stopped", "after 0 of 1 epochs", False),  # trained, and asked before its evaluation
    ],
)
def test_what_an_exit_code_says(program, state, words, lost, tmp_path):
    line = f"import os, sys; print('hello', flush=True); {program}"
    process = JobProcess(job(tmp_path, "x"), [sys.executable, "-c", line], None)
    process.asked = True
    process.process.wait()
    end = process.look()
    assert (end.state, end.lost) == (state, lost)
    assert end.words == words


@pytest.mark.parametrize("budget", [None, 30.0])
def test_while_one_is_evaluated_the_others_are_looked_after(budget, tmp_path, monkeypatch):
    """A signal, or a budget that is spent, in an evaluation that takes long."""
    ends: list[str] = []
    passed_s = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s[0], sleep=time.sleep)

    def slow(*_):
        wait_for(lambda: read_metrics(jobs[1].folder))
        if budget is None:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            passed_s[0] = 60 * budget
        wait_for(lambda: not trainers(tmp_path), 40)
        ends.append("evaluated")
        return {"error": 0.5}

    def report(line):
        if "long: stopped" in line:
            ends.append("stopped")

    monkeypatch.setattr("drnn.reproduce.process.result_of", slow)
    monkeypatch.setattr("drnn.reproduce.runner.time", clock)
    jobs = [job(tmp_path, "quick"), long_job(tmp_path)]
    if budget is None:
        with pytest.raises(Interrupted, match="every run is saved"):
            run_jobs(jobs, 2, report=report)
    else:
        assert [each.state for each in run_jobs(jobs, 2, budget, report=report)] == ["finished", "stopped"]
    assert sorted(ends) == ["evaluated", "stopped"]
    assert jobs[0].file.is_file()
    assert "the run is saved" in (jobs[1].folder / "train.log").read_text()
    assert checkpoints(jobs[1].folder)


def test_room_for_runs_and_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert room("cpu") == (16, 1)
    assert room("cpu", 1) == (1, 16)
    assert room("cpu", 3) == (3, 5)
    assert room("cpu", 40) == (40, 1)
    assert room("cuda") == (1, 16)  # in the order of the plan
    assert room("cuda:1", 2) == (2, 8)


def test_what_a_run_warns_of_is_passed_on_once(tmp_path):
    run = long_job(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "train.log").write_text("drnn: of an earlier attempt\n")
    says = "print('drnn: a block closed'); print('and more'); print('drnn: a line that', end='')"
    process = JobProcess(run, [sys.executable, "-c", says], None)
    process.process.wait()
    assert process.warnings() == ["a block closed"]
    assert process.warnings() == []


def test_why_a_run_failed_is_told_by_its_own_words(tmp_path):
    each = job(tmp_path, "one")
    each.folder.mkdir(parents=True)
    (each.folder / "train.log").write_text("drnn train: of before\n")
    for says, words in (("echo drnn train: why; echo drnn: going on", "drnn train: why"), ("true", "no output")):
        process = JobProcess(each, ["sh", "-c", f"{says}; exit 2"], None)
        wait_for(lambda process=process: process.look() is not None)
        assert process.look().words == f"failed with code 2: {words}"
