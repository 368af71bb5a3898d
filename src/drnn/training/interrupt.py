"""A polite end: SIGTERM and Ctrl-C let the step that is running finish, and the run be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """The run was saved and ended on request; no handler of errors should take it for one.

    Attributes:
        exit_code: 128 + the signal's number, as shells report it: 143 for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, signal_number: int, where: str):
        self.exit_code = 128 + signal_number
        super().__init__(f"{signal.Signals(signal_number).name} received; {where}")


class Requests:
    """Which signal asked for the end, if any did."""

    received: int | None = None


@contextmanager
def polite_end() -> Iterator[Requests]:
    """Note SIGTERM and SIGINT instead of dying of them; a second one is not waited for. Undone at the end.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    requests = Requests()
    if current_thread() is not main_thread():
        yield requests
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _) -> None:
        requests.received = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
