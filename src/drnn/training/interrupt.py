"""A polite end: SIGTERM, SIGHUP and Ctrl-C let the step that is running finish, and the run be saved."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
SIGNALS = (signal.SIGTERM, signal.SIGINT, *([HANGUP] if HANGUP else []))
SAVED = "the run is saved"  # of an interrupted one, its last words begin so
ECHO_S = 5.0  # a cluster signals every process of a job, and a process that has children passes it on to them


class Interrupted(KeyboardInterrupt):
    """The run was saved and ended on request; no handler of errors should take it for one.

    Attributes:
        exit_code: 128 + the signal's number, as shells report it: 143 for SIGTERM, 130 for Ctrl-C, 129 for SIGHUP.
    """

    def __init__(self, signal_number: int, where: str):
        self.exit_code = 128 + signal_number
        super().__init__(f"{signal.Signals(signal_number).name} received; {where}")


class Requests:
    """Which signal asked for the end, if any did."""

    received: int | None = None


@contextmanager
def polite_end() -> Iterator[Requests]:
    """Note a signal instead of dying of it. Undone at the end; where one came, by the next that counts.

    A signal within `ECHO_S` seconds of the first is the same request, which reached the process on two ways, and does
    not count; a later one is not waited for. SIGHUP stays ignored where it is, as under nohup. Outside the main thread,
    where Python allows no handlers, nothing changes.
    """
    requests = Requests()
    if current_thread() is not main_thread():
        yield requests
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if HANGUP and before[HANGUP] is signal.SIG_IGN:
        del before[HANGUP]
    first = 0.0

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _) -> None:
        nonlocal first
        if requests.received is None:
            requests.received, first = number, time.monotonic()
        elif time.monotonic() - first > ECHO_S:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        if requests.received is None:
            restore()
