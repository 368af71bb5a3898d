"""Pairs are measured in turn and summed up by medians."""

import subprocess
import sys
import time

import pytest

from drnn.timing import PairedTimes, time_in_turns, time_pairs


def test_pairs_alternate_and_leave_the_warm_up_out():
    order = []
    times = time_pairs(lambda turn: order.append(("a", turn)), lambda turn: order.append(("b", turn)), 2, warmup=1)
    assert order == [("a", -1), ("b", -1), ("b", 0), ("a", 0), ("a", 1), ("b", 1)]
    assert len(times.first_s) == len(times.second_s) == 2


def test_the_slower_side_is_told_apart():
    times = time_pairs(lambda _: time.sleep(0.02), lambda _: None, 3, warmup=0)
    assert times.ratio > 2
    assert times.medians_s[0] >= 0.02


def test_sums_in_closed_form():
    times = PairedTimes((1.0, 2.0, 9.0), (2.0, 2.0, 3.0))
    assert times.medians_s == (2.0, 2.0)
    assert times.ratio == 1.0
    assert times.p95_s == pytest.approx((8.3, 2.9))
    assert PairedTimes((1.0,), (2.0,)).p95_s == (1.0, 2.0)


def test_several_sides_take_turns_every_other_time_in_reverse():
    calls = []
    works = [lambda turn, name=name: calls.append((name, turn)) for name in "abc"]
    times = time_in_turns(works, rounds=2, warmup=1)
    assert calls == [(name, -1) for name in "abc"] + [(name, 0) for name in "cba"] + [(name, 1) for name in "abc"]
    assert [len(each) for each in times] == [2, 2, 2]


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds 0 received"):
        time_pairs(lambda _: None, lambda _: None, 0)


@pytest.mark.gpu
def test_timing_work_of_the_cpu_starts_no_gpu():
    program = "import torch, drnn.timing; drnn.timing.seconds(print); assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", program], check=True)
