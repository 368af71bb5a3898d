"""What a budget may ask for: a share of the static network's multiply-adds, so many of them, or milliseconds."""

import re
from dataclasses import dataclass
from typing import Literal

SCALES = {"G": 1e9, "M": 1e6}


@dataclass(frozen=True)
class Request:
    """A mean per image: ``value`` in ``unit``.

    Raises:
        ValueError: nothing, or less, is asked for.
    """

    value: float
    unit: Literal["share", "macs", "ms"]

    def __post_init__(self):
        if not 0 < self.value < float("inf"):
            raise ValueError(f"a budget of {self.value} {self.unit} received; it is more than 0")


def parse_request(macs: str | None, ms: float | None) -> Request:
    """From the command line's ``--macs 0.8``, ``--macs 4.5G``, ``--macs 80M`` or ``--ms 12``.

    Raises:
        ValueError: neither or both, or something else.

    Example:
        >>> parse_request("4.5G", None)
        Request(value=4500000000.0, unit='macs')
        >>> parse_request("0.8", None)
        Request(value=0.8, unit='share')
    """
    if (macs is None) == (ms is None):
        raise ValueError("give one of --macs 0.8 (share of the static network's), --macs 4.5G, --macs 80M, --ms 12")
    if ms is not None:
        return Request(ms, "ms")
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)([GM]?)", str(macs).strip())
    if match is None:
        raise ValueError(f"--macs {macs!r} received; write a share such as 0.8, or 4.5G, or 80M multiply-adds")
    number, scale = float(match[1]), match[2]
    if scale:
        return Request(number * SCALES[scale], "macs")
    if number > 2:
        raise ValueError(f"--macs {macs} would be {number:g} times the static network; for multiply-adds write G or M")
    return Request(number, "share")
