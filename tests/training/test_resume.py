"""A run that is stopped in any way goes on to the same bits."""

import errno
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

from drnn.cli.main import main
from drnn.training import find_recipe, train
from drnn.training.recipe_fields import recipe_from_dict
from drnn.training.run_folder import AVERAGE, METRICS
from drnn.training.session import Session
from drnn.training.state import checkpoints, load_state, save_state
from drnn.weights.files import WEIGHTS

sys.path.insert(0, str(Path(__file__).parent))
from killer import RECIPE

KILLER = Path(__file__).parent / "killer.py"

TINY = replace(
    find_recipe("digits"), epochs=3, batch_size=64, held_out=500, threads=1, warmup_epochs=0.5, ema_decay=0.9,
    gate_noise="training",
)  # fmt: skip
OPTIONS = ["--epochs", "3", "--held_out", "500", "--threads", "1", "--warmup_epochs", "0.5", "--ema_decay", "0.9",
           "--gate_noise", "training", "--quiet", "--checkpoint_minutes", "0"]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, train(TINY, folder, progress=False)


class Stopped(BaseException):
    """Thrown in the middle of a step."""


def stop_before(monkeypatch, step, error=Stopped):
    """Raise at the update of that number, once."""
    update = Session.update

    def interrupted(session, images, labels):
        if session.steps == step:
            monkeypatch.undo()
            raise error
        return update(session, images, labels)

    monkeypatch.setattr(Session, "update", interrupted)


def assert_same_run(folder, unbroken):
    expected, summary = unbroken
    for name in (WEIGHTS, AVERAGE):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    assert read_metrics(folder) == read_metrics(expected)
    assert len(read_metrics(folder)) == 3
    assert json.loads((folder / "summary.json").read_text())["acc1"] == summary["acc1"]


@pytest.mark.parametrize("minutes", [0.0, 10.0])
@pytest.mark.parametrize("step", [0, 1, 15, 29])
def test_stopped_in_mid_epoch_a_run_goes_on_to_the_same_bits(step, minutes, unbroken, tmp_path, monkeypatch):
    stop_before(monkeypatch, step)
    with pytest.raises(Stopped):
        train(TINY, tmp_path, progress=False, checkpoint_minutes=minutes)
    train(TINY, tmp_path, progress=False)
    assert_same_run(tmp_path, unbroken)
    assert len(checkpoints(tmp_path)) == 2


def test_stopped_between_an_epochs_last_update_and_its_evaluation(unbroken, tmp_path, monkeypatch):
    """No update is left to make then, and still the epoch's learning rate is that of its last one."""

    def stop(session):
        raise Stopped

    monkeypatch.setattr(Session, "test", stop)
    with pytest.raises(Stopped):
        train(TINY, tmp_path, progress=False, checkpoint_minutes=0)
    monkeypatch.undo()
    train(TINY, tmp_path, progress=False)
    assert_same_run(tmp_path, unbroken)


def test_twenty_kills_leave_the_same_bits(tmp_path):
    """SIGKILL at random moments of one short run; each attempt goes on where the last checkpoint was."""
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    done = subprocess.run(
        [sys.executable, str(KILLER), str(killed), "20"], capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    train(recipe_from_dict(RECIPE), unbroken, progress=False)
    for name in (WEIGHTS, AVERAGE):
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert read_metrics(killed) == read_metrics(unbroken)
    assert len(json.loads((killed / "environment.json").read_text())["resumed"]) >= 10


def read_metrics(folder):
    """Everything but the speed."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines]


def read_steps(folder):
    return [int(path.stem.split("-")[1]) for path in checkpoints(folder)]


def test_sigterm_saves_and_exits_with_143(unbroken, tmp_path):
    command = [sys.executable, "-m", "drnn", "train", "digits", "--out", str(tmp_path), *OPTIONS[:-2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not checkpoints(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode == 143
    assert "SIGTERM received; the run is saved after" in said
    train(TINY, tmp_path, progress=False)
    assert_same_run(tmp_path, unbroken)


def test_ctrl_c_saves_and_says_so(tmp_path, monkeypatch, capsys):
    update = Session.update

    def press(session, images, labels):
        if session.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return update(session, images, labels)

    monkeypatch.setattr(Session, "update", press)
    assert main(["train", "digits", "--out", str(tmp_path), *OPTIONS[:-2]]) == 130
    assert "SIGINT received; the run is saved after 4 steps" in capsys.readouterr().err
    assert read_steps(tmp_path) == [4]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "foreign"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, unbroken, tmp_path, monkeypatch, caplog):
    stop_before(monkeypatch, 15)
    with pytest.raises(Stopped):
        train(TINY, tmp_path, progress=False, checkpoint_minutes=0)
    last = checkpoints(tmp_path)[-1]
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage == "foreign":
        content = bytearray(b"cos\nsystem\n(S'touch hacked'\ntR.")
    last.write_bytes({"cut": content[:-100], "emptied": b""}.get(damage, content))
    train(TINY, tmp_path, progress=False)
    assert f"{last} is damaged" in caplog.text
    assert_same_run(tmp_path, unbroken)


def test_a_pickle_in_a_checkpoint_runs_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    save_state(tmp_path, 1, {"epoch": 7, "metrics_bytes": 0})
    save_state(tmp_path, 2, {"model": Hostile()})
    assert load_state(tmp_path) == {"epoch": 7, "metrics_bytes": 0}
    assert not (tmp_path / "hacked").exists()


def test_a_full_disk_is_named_and_the_run_stays_usable(unbroken, tmp_path, monkeypatch, capsys):
    def full(state, path):
        if int(state["batch"]) == 3 and state["epoch"] == 1:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return saved(state, path)

    saved = torch.save
    monkeypatch.setattr(torch, "save", full)
    assert main(["train", "digits", "--out", str(tmp_path), *OPTIONS]) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "make room" in said
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    train(TINY, tmp_path, progress=False)
    assert_same_run(tmp_path, unbroken)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "digits", "--out", str(tmp_path / "file" / "run"), *OPTIONS]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_resume_needs_a_run(tmp_path, capsys):
    assert main(["train", "digits", "--out", str(tmp_path / "none"), "--resume", *OPTIONS]) == 2
    assert "holds no run to resume" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_where_a_run_went_on_is_kept_and_threads_may_be_others(tmp_path, monkeypatch):
    stop_before(monkeypatch, 12)
    with pytest.raises(Stopped):
        train(TINY, tmp_path, progress=False)
    try:
        train(replace(TINY, threads=2), tmp_path, progress=False, resume=True)
    finally:
        torch.set_num_threads(TINY.threads)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert len(environment["resumed"]) == 1
    assert (environment["threads"], environment["resumed"][0]["threads"]) == (1, 2)
    assert environment["resumed"][0]["torch"] == torch.__version__
