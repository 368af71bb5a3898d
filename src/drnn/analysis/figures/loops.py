"""Figure 8 and its company: loops per image, by class, against errors, and multiply-adds per image."""

import numpy as np

from drnn.analysis.figures.style import COLOURS, Picture, canvas, provenance, sign, whole_numbers
from drnn.analysis.findings import Findings

MOST_CLASSES = 20


def histogram(findings: Findings) -> Picture:
    """Figure 8."""
    table, found = findings.tables["histogram"], findings.facts["loops"]
    figure, axes = canvas(3.2)
    axes.bar(table["loops"], table["images"], color="#9ccbe3", edgecolor="black", linewidth=0.7)
    axes.axvline(found["mean"], color=COLOURS[0], label=f"mean {found['mean']:.2f}")
    interval = "one image has no interval"
    if found["mean_low"] is not None:
        interval = f"95 % interval {found['mean_low']:.2f} to {found['mean_high']:.2f}"
    says = (
        f"An image executes {found['mean']:.2f} of {table['loops'][-1]} loops on average ({interval}), with a "
        f"standard deviation of {found['std']:.2f}; the most is {found['most']}."
    )
    if found["expected"] is not None:
        expected, rate = found["expected"], findings.facts["target_rate"]
        axes.axvline(expected, color=COLOURS[2], linestyle="--", label=f"expected at rate {rate:g}: {expected:.2f}")
        says += f" Gates at their target rate of {rate:g} would give {expected:.2f}."
    axes.set(xlabel="executed loops", ylabel="images")
    axes.legend(fontsize=8)
    return Picture("figure8_loops", "Loops per image (Figure 8)", says, sign(figure, provenance(findings.facts)))


def by_class(findings: Findings) -> Picture:
    """Mean loops of each class."""
    table, names = findings.tables["by_class"], findings.facts["classes"][:MOST_CLASSES]
    mean, low, high = (table[key][: len(names)] for key in ("mean", "low", "high"))
    figure, axes = canvas(0.9 + 0.28 * len(names))
    rows = np.arange(len(names))
    axes.errorbar(mean, rows, xerr=[mean - low, high - mean], fmt="o", color=COLOURS[0], ecolor=COLOURS[1], capsize=3)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel="executed loops, mean with 95 % interval")
    easy, hard = int(np.nanargmin(mean)), int(np.nanargmax(mean))
    says = f"Fewest loops: {names[easy]} ({mean[easy]:.2f}); most: {names[hard]} ({mean[hard]:.2f})."
    if len(findings.facts["classes"]) > MOST_CLASSES:
        says += f" The first {MOST_CLASSES} of {len(findings.facts['classes'])} classes are shown; the arrays have all."
    return Picture("loops_by_class", "Loops by class", says, sign(figure, provenance(findings.facts)))


def errors(findings: Findings) -> Picture:
    """Is a hard image one that is often wrong?"""
    table = findings.tables["error_by_loops"]
    figure, axes = canvas(3.2)
    low, high = table["error"] - table["low"], table["high"] - table["error"]
    bars = np.maximum([low, high], 0)
    axes.errorbar(table["loops"], table["error"], yerr=bars, fmt="o-", color=COLOURS[0], ecolor=COLOURS[1], capsize=3)
    for place, images, top in zip(table["loops"], table["images"], table["high"], strict=True):
        axes.annotate(f"{images}", (place, top), ha="center", va="bottom", fontsize=7)
    axes.set(xlabel="executed loops", ylabel="error with 95 % interval", ylim=(0, None))
    axes.margins(y=0.12)
    whole_numbers(axes)
    says = "Numbers above the bars are images."
    ends = _ends(table)
    if ends is not None:
        few, many = (f"{wrong / images:.1%} ({wrong} of {images})" for wrong, images in ends)
        says += f" Of the images with fewer loops than the median {few} are wrong, of those with more {many}."
    return Picture("error_by_loops", "Error against loops", says, sign(figure, provenance(findings.facts)))


def _ends(table: dict[str, np.ndarray]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Wrong images and images with fewer loops than the median, and with more; None where a side is empty."""
    reached = np.cumsum(table["images"])
    median = int(np.searchsorted(reached, (reached[-1] + 1) / 2))
    sides = slice(None, median), slice(median + 1, None)
    ends = [(int(table["wrong"][side].sum()), int(table["images"][side].sum())) for side in sides]
    return (ends[0], ends[1]) if min(images for _, images in ends) else None


def macs(findings: Findings) -> Picture:
    """Multiply-adds per image."""
    spent, most = findings.tables["answers"]["macs"] / 1e6, findings.facts["max_macs"] / 1e6
    figure, axes = canvas(3.0)
    share = np.arange(1, len(spent) + 1) / len(spent)
    axes.step(np.sort(spent), share, color=COLOURS[1], where="post")
    axes.axvline(spent.mean(), color=COLOURS[0], label=f"mean {spent.mean():.2f} M")
    axes.axvline(most, color=COLOURS[2], linestyle="--", label=f"every loop: {most:.2f} M")
    axes.set(xlabel="multiply-adds, M", ylabel="share of images at most this")
    axes.legend(fontsize=8)
    says = (
        f"{spent.mean():.2f} M multiply-adds an image on average, {spent.min():.2f} to {spent.max():.2f} M; "
        f"every loop executed would cost {most:.2f} M."
    )
    return Picture("macs_per_image", "Multiply-adds per image", says, sign(figure, provenance(findings.facts)))
