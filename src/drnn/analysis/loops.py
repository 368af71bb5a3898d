"""Loops per image (Figure 8), by class, against errors, and by block: functions of plain arrays."""

import numpy as np

from drnn.intervals import basic_bootstrap, mean_interval, wilson

Table = dict[str, np.ndarray]
CALIBRATION_BINS = 15


def loop_histogram(loops: np.ndarray, slots: np.ndarray, target_rate: float | None) -> dict:
    """Figure 8: how many images executed how many loops.

    Args:
        loops: ``(N,)``.
        slots: ``(B,)`` loops of each block.
        target_rate: of the gates; None leaves the expectation out.

    Returns:
        ``images (T + 1,)``, ``mean`` with ``mean_low`` and ``mean_high``, ``std`` (of the images), ``most``, and
        ``expected``: the sum of rate^i over each block's loops.

    Example:
        >>> found = loop_histogram(np.array([0, 2, 2]), np.array([2]), 0.5)
        >>> found["images"].tolist(), found["expected"]
        ([1, 0, 2], 0.75)
    """
    mean, low, high = mean_interval(loops)
    expected = None
    if target_rate is not None:
        expected = float(sum(target_rate**loop for count in slots for loop in range(1, int(count) + 1)))
    return {
        "images": np.bincount(loops, minlength=int(np.sum(slots)) + 1),
        "mean": mean,
        "mean_low": low,
        "mean_high": high,
        "std": float(np.std(loops)),
        "most": int(np.max(loops)),
        "expected": expected,
    }


def loops_by_class(loops: np.ndarray, labels: np.ndarray, num_classes: int) -> Table:
    """Mean loops of each true class with its interval; ``(K,)`` each."""
    groups = [loops[labels == index] for index in range(num_classes)]
    rows = np.array([mean_interval(group) for group in groups])
    counts, stds = [len(group) for group in groups], [np.std(group) if len(group) else np.nan for group in groups]
    return _table(images=counts, mean=rows[:, 0], low=rows[:, 1], high=rows[:, 2], std=stds)


def error_by_loops(loops: np.ndarray, wrong: np.ndarray) -> Table:
    """Error of the images that executed so many loops, for every number that occurs, with Wilson's interval."""
    values = np.unique(loops)
    images = np.array([np.sum(loops == value) for value in values])
    errors = np.array([np.sum(wrong[loops == value]) for value in values])
    low, high = wilson(errors, images)
    return _table(loops=values, images=images, wrong=errors, error=errors / images, low=low, high=high)


def execution_map(executed: np.ndarray, arrived: np.ndarray, slots: np.ndarray) -> Table:
    """Which loop of which block runs how often: ``(B, L)``, L being the most loops of a block, NaN where it has fewer.

    ``executed`` is the share of all images, ``rate`` the share of those that arrived (NaN where none did).
    """
    shape = (len(slots), int(np.max(slots)))
    share, rate = np.full(shape, np.nan), np.full(shape, np.nan)
    starts = np.cumsum(slots) - slots
    for block, (start, count) in enumerate(zip(starts, slots, strict=True)):
        here = slice(start, start + count)
        came = arrived[:, here].sum(0)
        share[block, :count] = executed[:, here].mean(0)
        rate[block, :count] = np.where(came > 0, executed[:, here].sum(0) / np.maximum(came, 1), np.nan)
    return _table(executed=share, rate=rate)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: |accuracy - confidence| of 15 equal bins of confidence, weighted by images.

    Example:
        >>> calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False]))
        0.0

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    if len(confidence) == 0:
        return float("nan")
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, confidence.astype(np.float64) - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def early_and_late(loops: np.ndarray, confidence: np.ndarray, wrong: np.ndarray) -> Table:
    """Images that leave early against those that stay: accuracy and calibration error, with intervals; ``(2,)`` each.

    Early are the images with at most the median number of loops, or, where the median is the most, those with fewer;
    late are the others, and ``most`` is the most loops of each. Where all images have one number of loops all are
    early, and the values of the late ones are NaN. With few images the calibration error is too high, and so are its
    resamples: its interval is a basic bootstrap's, which mirrors them back, and ends at 0.
    That is still narrower than it says, most where a network is well calibrated: see docs/analysis.md.
    """
    fewer = loops[loops < loops.max()]
    early = loops <= (min(np.median(loops), fewer.max()) if len(fewer) else loops.max())
    rows = [_group(loops[part], confidence[part], ~wrong[part]) for part in (early, ~early)]
    names = ("images", "accuracy", "low", "high", "ece", "ece_low", "ece_high", "most")
    return _table(**dict(zip(names, zip(*rows, strict=True), strict=True)))


def _group(loops: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> tuple[float, ...]:
    count = len(correct)
    if count == 0:
        return 0, *(float("nan"),) * 7
    low, high = wilson(int(correct.sum()), count)
    ece, high_ece = basic_bootstrap(lambda rows: calibration_error(confidence[rows], correct[rows]), count)
    error = calibration_error(confidence, correct)
    ends = max(ece, 0.0), max(high_ece, error)
    return count, float(correct.mean()), float(low), float(high), error, *ends, float(loops.max())


def _table(**columns) -> Table:
    return {name: np.asarray(values) for name, values in columns.items()}
