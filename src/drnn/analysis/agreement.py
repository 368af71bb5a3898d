"""Do networks of other seeds call the same images hard?"""

from itertools import combinations

import numpy as np

from drnn.intervals import bootstrap


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the mean of theirs.

    Example:
        >>> ranks(np.array([5, 1, 5])).tolist()
        [1.5, 0.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one of the two is constant.

    Example:
        >>> rank_correlation(np.array([1, 2, 3]), np.array([10, 20, 25]))
        1.0
    """
    a, b = (ranks(values) - (len(values) - 1) / 2 for values in (first, second))
    scale = float((a @ a) * (b @ b)) ** 0.5
    return float(a @ b) / scale if scale > 0 else float("nan")


def seed_agreement(loops: list[np.ndarray]) -> list[dict]:
    """Rank correlation of the loop counts of every two runs, with a bootstrap interval over images.

    Raises:
        ValueError: runs that were evaluated on different numbers of images.
    """
    if len({len(values) for values in loops}) > 1:
        raise ValueError("loop counts of different numbers of images received; evaluate all runs on the same images")
    found = []
    for first, second in combinations(range(len(loops)), 2):
        a, b = loops[first], loops[second]
        value = rank_correlation(a, b)
        low, high = (value, value)
        if np.isfinite(value):
            low, high = bootstrap(lambda rows, a=a, b=b: rank_correlation(a[rows], b[rows]), len(a))
        found.append({"first": first, "second": second, "correlation": value, "low": low, "high": high})
    return found
