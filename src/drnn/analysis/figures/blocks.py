"""Which loop of which block runs, what leaves early, and the statistics of Figure 7."""

import numpy as np

from drnn.analysis.figures.style import COLOURS, MAP, Missing, Picture, canvas, provenance, sign
from drnn.analysis.findings import Findings
from drnn.analysis.norm_statistics import NormStatistics, early_and_late_norms, norms_of


def execution(findings: Findings) -> Picture:
    """The heat map."""
    share = findings.tables["execution_map"]["executed"]
    blocks, loops = share.shape
    figure, axes = canvas(max(2.2, 1.3 + 0.35 * blocks))
    image = axes.imshow(np.ma.masked_invalid(share), cmap=MAP, vmin=0, vmax=1, aspect="auto")
    for block, loop in np.argwhere(np.isfinite(share)):
        value = share[block, loop]
        axes.text(loop, block, f"{value:.2f}", ha="center", va="center", fontsize=9, color="wk"[int(value > 0.5)])
    axes.set_xticks(range(loops))
    axes.set_yticks(range(blocks))
    axes.set(xlabel="loop", ylabel="recursive block")
    figure.colorbar(image, label="share of images")
    least, most = np.nanmin(share), np.nanmax(share)
    says = f"The loop that runs least is executed by {least:.0%} of the images, the one that runs most by {most:.0%}."
    return Picture("execution_map", "Which loop runs how often", says, sign(figure, provenance(findings.facts)))


def early(findings: Findings) -> Picture | Missing:
    """Accuracy and calibration of early leavers against stayers."""
    table, name = findings.tables["early_and_late"], "early_and_late"
    title = "Images that leave early, and those that stay"
    if table["images"][1] == 0:
        return Missing(name, title, "every image executes the same number of loops")
    figure, both = canvas(3.0, 1, 2)
    subjects = (("accuracy", "low", "high"), ("ece", "ece_low", "ece_high"))
    for axes, (key, low, high), label in zip(both, subjects, ("accuracy", "calibration error"), strict=True):
        bars = np.maximum([table[key] - table[low], table[high] - table[key]], 0)
        axes.errorbar([0, 1], table[key], yerr=bars, fmt="o", color=COLOURS[0], ecolor=COLOURS[1], capsize=4)
        axes.set_xticks([0, 1], ["early", "late"])
        axes.set(title=label, xlim=(-0.6, 1.6))
        axes.grid(axis="y", alpha=0.3)
    most = int(table["most"][0])
    first = f"Early (at most {most} loop{'s' if most != 1 else ''})"
    columns = [table[key] for key in ("images", "accuracy", "low", "high", "ece", "ece_low", "ece_high")]
    says = "; ".join(
        f"{who}: {count:,.0f} images, accuracy {acc:.2%} ({low:.2%} to {high:.2%}), calibration error {ece:.3f} "
        f"({el:.3f} to {eh:.3f})"
        for who, count, acc, low, high, ece, el, eh in zip((first, "late"), *columns, strict=True)
    )
    return Picture(name, title, f"{says}. Intervals are 95 %.", sign(figure, provenance(findings.facts)))


def norms(findings: Findings) -> Picture | Missing:
    """Figure 7: the last norm of an early and of a late block, first loop."""
    name, title = "figure7_statistics", "Statistics of executed and skipped maps (Figure 7)"
    if "norms" not in findings.tables:
        return Missing(name, title, findings.facts["left_out"]["norms"])
    chosen = early_and_late_norms(norms_of(findings.tables["norms"]))
    figure, grid = canvas(5.2, 2, len(chosen), squeeze=False)
    for column, entry in zip(grid.T, chosen, strict=True):
        for axes, moment in zip(column, ("mean", "var"), strict=True):
            executed, skipped = (getattr(entry, f"{group}_{moment}")[0] for group in ("executed", "skipped"))
            order = np.argsort(executed)
            axes.plot(executed[order], color=COLOURS[1], label="executed")
            axes.plot(skipped[order], color=COLOURS[2], linestyle="--", label="skipped")
            axes.set(title=f"block {entry.block}, {entry.norm}: {moment}", xlabel="channel, sorted")
            axes.title.set_fontsize(9)
            axes.set_yscale("log" if moment == "var" else "linear")
    grid[0, 0].legend(fontsize=8)
    where = "the first and of the last recursive block" if len(chosen) > 1 else "the only recursive block"
    says = (
        f"Running mean and variance per channel at the first loop of {where}. "
        f"The means lie {' and '.join(_apart(_distance(entry)) for entry in chosen)}, root mean square over channels: "
        "evaluation takes the executed ones."
    )
    return Picture(name, title, says, sign(figure, provenance(findings.facts, "statistics of its training images")))


def _apart(distance: float) -> str:
    return "nowhere, since nobody left there" if np.isnan(distance) else f"{distance:.2f} standard deviations apart"


def _distance(entry: NormStatistics) -> float:
    difference = entry.executed_mean[0] - entry.skipped_mean[0]
    return float(np.sqrt(np.mean(difference**2 / (entry.executed_var[0] + 1e-5))))
