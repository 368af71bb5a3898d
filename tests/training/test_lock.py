"""One process at a time trains in a run folder; what a dead one left blocks nobody."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from drnn.cli.main import main
from drnn.training import find_recipe
from drnn.training.lock import alone_in
from drnn.training.run_folder import METRICS, open_run
from drnn.training.state import checkpoints

COMMAND = ["train", "digits", "--held_out", "500", "--threads", "1", "--quiet", "--device", "cpu"]


def epochs_of(folder):
    return [json.loads(line)["epoch"] for line in (folder / METRICS).read_text().splitlines()]


def test_a_second_trainer_is_refused_and_a_dead_one_is_not_waited_for(tmp_path, capsys):
    command = [*COMMAND, "--out", str(tmp_path), "--epochs", "12"]
    with subprocess.Popen([sys.executable, "-m", "drnn", *command], stdout=subprocess.DEVNULL) as first:
        while first.poll() is None and not checkpoints(tmp_path):
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # it is there, and slow
        try:
            for more in ([], ["--overwrite"]):
                assert main([*command, *more]) == 2
                said = capsys.readouterr().err
                assert f"another process is training in {tmp_path}; wait for it to end, or choose another" in said
        finally:
            first.kill()
    assert main(command) == 0  # its file is still there
    assert epochs_of(tmp_path) == list(range(1, 13))


def test_a_fork_of_a_trainer_does_not_hold_its_folder(tmp_path):
    """A process that reads images outlives a killed trainer by seconds, and torchrun starts the next at once."""
    program = """
import os, signal, sys, time
from pathlib import Path
from drnn.training.lock import alone_in
folder = Path(sys.argv[1])
trainer = os.fork()
if trainer == 0:
    with alone_in(folder):
        if os.fork() == 0:
            time.sleep(60)
        print("held", flush=True)
        time.sleep(60)
while not (folder / ".lock").exists():
    time.sleep(0.01)
time.sleep(0.5)
try:
    with alone_in(folder):
        sys.exit("not held")
except BlockingIOError:
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
with alone_in(folder):
    print("free")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.wait(60) == 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        assert "free" in process.stdout.read()


def test_where_a_disk_has_no_locks_training_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("drnn.training.lock.fcntl.flock", none)
    with alone_in(tmp_path), alone_in(tmp_path):
        assert "cannot be locked (No locks available)" in caplog.text


def test_a_finished_run_is_told_while_another_process_holds_it(tmp_path):
    recipe = find_recipe("digits")
    with ExitStack() as held:
        assert open_run(tmp_path, recipe, held) == ("start", None)
        with pytest.raises(BlockingIOError, match="another process is training"):
            open_run(tmp_path, recipe, ExitStack())
        (tmp_path / "summary.json").write_text("{}")
        assert open_run(tmp_path, recipe, ExitStack()) == ("finished", {})
