"""What a budget may be asked for in."""

import pytest

from drnn.budgets.request import parse_request


@pytest.mark.parametrize(
    ("macs", "ms", "message"),
    [
        (None, None, "give one of"), ("0.8", 3.0, "give one of"), ("80", None, "write G or M"),
        ("x", None, "write a share"), ("0", None, "more than 0"), (None, -1.0, "more than 0"),
    ],
)  # fmt: skip
def test_requests_that_say_nothing_clear_are_refused(macs, ms, message):
    with pytest.raises(ValueError, match=message):
        parse_request(macs, ms)
