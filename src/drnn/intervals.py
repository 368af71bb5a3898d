"""Confidence intervals, 95 % throughout."""

import numpy as np

Z = 1.959963984540054  # two-sided 95 % of a normal
DRAWS = 1000


def wilson(successes: np.ndarray | int, trials: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share; ``(low, high)``, NaN where there were no trials.

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.49, 0.943)

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    n = np.where(np.asarray(trials) > 0, trials, np.nan).astype(np.float64)
    share = np.asarray(successes) / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``values (N,)`` and the normal interval of it; NaN for none, and for the interval of one value.

    Example:
        >>> mean_interval(np.array([2.0, 2.0, 2.0]))
        (2.0, 2.0, 2.0)
    """
    if len(values) == 0:
        return np.nan, np.nan, np.nan
    mean = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return mean, mean - half, mean + half


def bootstrap(statistic, count: int, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of ``statistic(rows)`` over resampled row numbers of ``count`` images."""
    low, high = np.nanpercentile(_resampled(statistic, count, seed), [2.5, 97.5])
    return float(low), float(high)


def basic_bootstrap(statistic, count: int, seed: int = 0) -> tuple[float, float]:
    """The same, mirrored at the statistic of all images: for a statistic that resampling shifts, such as an error >= 0.

    Example:
        >>> spread = np.arange(100.0)
        >>> low, high = basic_bootstrap(lambda rows: spread[rows].max(), 100)  # resamples have at most 99
        >>> low, high > 99
        (99.0, True)

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997.
    """
    low, high = np.nanpercentile(_resampled(statistic, count, seed), [2.5, 97.5])
    whole = statistic(np.arange(count))
    return float(2 * whole - high), float(2 * whole - low)


def _resampled(statistic, count: int, seed: int) -> list[float]:
    generator = np.random.default_rng(seed)
    return [statistic(generator.integers(count, size=count)) for _ in range(DRAWS)]
