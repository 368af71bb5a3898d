"""Pairs are measured in turn and summed up by medians."""

import subprocess
import sys
import time

import pytest
import torch

from drnn.timing import PairedTimes, seconds, time_in_turns, time_pairs, wait


def test_pairs_alternate_and_leave_the_warm_up_out():
    order = []
    times = time_pairs(
        lambda turn: order.append(("a", turn)), lambda turn: order.append(("b", turn)), 2, 1, device="cpu"
    )
    assert order == [("a", -1), ("b", -1), ("b", 0), ("a", 0), ("a", 1), ("b", 1)]
    assert len(times.first_s) == len(times.second_s) == 2


def test_the_slower_side_is_told_apart():
    times = time_pairs(lambda _: time.sleep(0.02), lambda _: None, 3, warmup=0, device="cpu")
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
    times = time_in_turns(works, rounds=2, warmup=1, device="cpu")
    assert calls == [(name, -1) for name in "abc"] + [(name, 0) for name in "cba"] + [(name, 1) for name in "abc"]
    assert [len(each) for each in times] == [2, 2, 2]


def test_what_has_to_be_set_before_a_side_is_not_timed(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr("drnn.timing.perf_counter", lambda: clock[0])

    def spend(seconds, *what):
        clock[0] += seconds
        calls.append(what)

    works = [lambda turn, s=s: spend(s, "work", s, turn) for s in (1.0, 2.0)]
    times = time_in_turns(works, rounds=2, warmup=0, device="cpu", before=lambda side: spend(10.0, "before", side))
    assert times == ((1.0, 1.0), (2.0, 2.0))
    assert calls[:4] == [("before", 1), ("work", 2.0, 0), ("before", 0), ("work", 1.0, 0)]


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds 0 received"):
        time_pairs(lambda _: None, lambda _: None, 0, device="cpu")


def test_work_is_waited_for_on_its_own_device(monkeypatch):
    events = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "synchronize", events.append)
    seconds(lambda _: events.append("work"), device="cuda:1")
    assert events == [torch.device("cuda:1"), "work", torch.device("cuda:1")]
    events.clear()
    seconds(lambda _: events.append("work"), device="cpu")
    assert events == ["work"]


@pytest.mark.parametrize("known", [None, torch.device("cuda")])
def test_a_device_that_cannot_be_waited_for_is_refused(known, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: known)
    with pytest.raises(ValueError, match="device 'meta' received, which cannot be waited for"):
        wait("meta")
    with pytest.raises(ValueError, match="device 'meta' received"):
        time_pairs(lambda _: pytest.fail("worked"), lambda _: None, 1, device="meta")


@pytest.mark.gpu
def test_all_that_was_started_is_timed():
    x = torch.randn(8192, 8192, device="cuda")

    def work(_):
        for _ in range(20):
            x @ x

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work(0)
    start.record()
    work(0)
    end.record()
    end.synchronize()
    assert seconds(work, device="cuda") > 0.5e-3 * start.elapsed_time(end)


@pytest.mark.gpu
def test_timing_work_of_the_cpu_starts_no_gpu():
    program = (
        "import torch, drnn.timing; drnn.timing.seconds(print, device='cpu'); assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
