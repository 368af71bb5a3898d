"""Signals that ask for the end: once, twice at once, again later, and those that were ignored before."""

import os
import signal
import subprocess
import sys
import time

import pytest

from drnn.training import interrupt
from drnn.training.interrupt import polite_end
from drnn.training.state import checkpoints

pytestmark = pytest.mark.usefixtures("hangups_are_heard")
COMMAND = ["train", "digits", "--held_out", "500", "--threads", "1", "--quiet", "--device", "cpu", "--epochs", "300"]


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGHUP],
        [signal.SIGTERM, signal.SIGTERM],
        [signal.SIGTERM, signal.SIGHUP, signal.SIGTERM],  # systemd, and a parent that passes it on
    ],
)
def test_one_request_that_comes_in_several_signals_saves(signals, tmp_path):
    """Told by one of them: Python hears those that come during one long operation by number, not by time."""
    command = [sys.executable, "-m", "drnn", *COMMAND, "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not checkpoints(tmp_path):
            time.sleep(0.01)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.002)
        said = process.communicate(timeout=60)[1]
    heard = {128 + number: number.name for number in signals}
    assert process.returncode in heard
    assert f"{heard[process.returncode]} received; the run is saved after" in said


def test_a_later_signal_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(interrupt, "ECHO_S", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with polite_end() as requests:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            assert requests.received == signal.SIGINT
            time.sleep(0.1)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_later_signal_ends_the_process_at_once(number):
    program = f"""
import os, time
from drnn.training import interrupt
interrupt.ECHO_S = 0.05
with interrupt.polite_end():
    os.kill(os.getpid(), {int(number)})
    time.sleep(0.1)
    os.kill(os.getpid(), {int(number)})
    print("alive")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-number, "")


def test_a_hangup_that_is_ignored_stays_so():
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with polite_end() as requests:
            os.kill(os.getpid(), signal.SIGHUP)
            assert requests.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
