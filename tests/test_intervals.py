"""Intervals and the calibration error against known values and a slow reference."""

import sys
from pathlib import Path

import numpy as np
import pytest

from drnn.analysis.loops import (
    calibration_error,
    early_and_late,
)
from drnn.intervals import mean_interval, wilson

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))


def test_intervals_against_known_values():
    low, high = wilson(0, 10)  # 0 successes: z^2 / (n + z^2)
    assert (float(low), float(high)) == (0, pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-5))
    assert np.isnan(wilson(0, 0)[0])
    mean, low, high = mean_interval(np.array([1.0, 3.0]))
    assert (mean, high - mean) == (2, pytest.approx(1.959964 * 2**0.5 / 2**0.5, rel=1e-5))
    assert low == pytest.approx(2 - (high - 2))
    assert np.isnan(mean_interval(np.array([]))[0])


def test_calibration_error_equals_a_loop_over_bins():
    generator = np.random.default_rng(0)
    confidence, correct = generator.random(200), generator.random(200) < 0.6
    total = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct) == pytest.approx(total)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0


def test_the_calibration_interval_holds_the_error_and_is_not_shifted_above_it():
    generator = np.random.default_rng(0)
    low, inside, trials = 0, 0, 20
    for _ in range(trials):
        confidence = generator.uniform(0.2, 1, 300)
        wrong = generator.random(300) > confidence  # perfectly calibrated
        table = early_and_late(np.zeros(300), confidence, wrong)
        low += table["ece_low"][0] <= 0.02
        inside += table["ece_low"][0] <= table["ece"][0] <= table["ece_high"][0]
    assert inside == trials
    assert low > trials / 2
