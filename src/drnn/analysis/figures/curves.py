"""Figure 6: training and evaluation errors against epochs, with the places where a run came apart."""

from typing import Any

import numpy as np

from drnn.analysis.curves import curves_of_study
from drnn.analysis.figures.style import COLOURS, Missing, Picture, canvas, line, sign, whole_numbers
from drnn.analysis.findings import Findings

TITLE = "Error against epoch (Figure 6)"
KINDS = (("apart", "x", "evaluation worse than guessing"), ("diverged", "*", "training diverged"))


def curves(findings: Findings) -> Picture:
    """All logs, one panel each: error of training and of evaluation."""
    marks = findings.facts["curves"]
    figure, text = panels({name: findings.tables[f"curves_{name}"] for name in marks}, marks)
    analysed = findings.facts["analysed"].get("commit") or "unknown"
    runs = "\n".join(f"{name}: {marks[name]['from']}" for name in marks)
    return Picture("figure6_curves", TITLE, text, sign(figure, f"{runs}\nanalysed at commit {analysed}"))


def course_curves(facts: dict) -> Picture | Missing:
    """The same of a study's variants."""
    found = curves_of_study(facts)
    if not found:
        return Missing("course_curves", TITLE, "measured at initialisation alone; --epochs trains the variants")
    figure, text = panels({each.name: each.columns for each in found}, {each.name: each.marks for each in found})
    return Picture("course_curves", TITLE, text, figure)


def panels(tables: dict[str, dict[str, np.ndarray]], marks: dict[str, dict[str, list]]) -> tuple[Any, str]:
    """A figure of one panel a run, and what its marks say.

    Args:
        tables: of each run "epoch", "train_error" and "test_error", ``(E,)``.
        marks: of each run the epochs that are "apart" and "diverged", see `drnn.analysis.curves.Curves`.
    """
    figure, rows = canvas(0.6 + 1.9 * len(tables), len(tables), 1, squeeze=False)
    says = []
    for axes, (name, table) in zip(rows[:, 0], tables.items(), strict=True):
        line(axes, 1, table["epoch"], table["train_error"], "training", markersize=2)
        line(axes, 0, table["epoch"], table["test_error"], "evaluation", markersize=2)
        for kind, mark, label in KINDS:
            at = np.isin(table["epoch"], marks[name][kind])
            if at.any():
                x, y = table["epoch"][at], table["test_error"][at]
                axes.scatter(x, y, marker=mark, s=60, color=COLOURS[2], zorder=3, label=label)
                says.append(f"{name}: {label} at epochs {', '.join(f'{epoch:g}' for epoch in marks[name][kind])}")
        axes.set(title=name, ylabel="error", ylim=(0, 1))
        axes.legend(fontsize=7)
        whole_numbers(axes)
        if len(table["epoch"]) == 1:
            axes.set_xticks(table["epoch"])
    rows[-1, 0].set_xlabel("epoch")
    text = (
        "A cross marks an epoch whose evaluation loss is above that of guessing while its training loss is below, or "
        "is above its training loss by more than that of guessing. "
    )
    return figure, text + (". ".join(says) + "." if says else "No run here came apart.")
