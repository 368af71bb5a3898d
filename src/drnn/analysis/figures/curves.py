"""Figure 6: training and evaluation errors against epochs, with the places where a run came apart."""

from drnn.analysis.figures.style import COLOURS, Picture, canvas, line, provenance, sign, whole_numbers
from drnn.analysis.findings import Findings


def curves(findings: Findings) -> Picture:
    """All logs, one panel each: error of training and of evaluation."""
    marks = findings.facts["curves"]
    figure, rows = canvas(0.6 + 1.9 * len(marks), len(marks), 1, squeeze=False)
    says = []
    for axes, (name, found) in zip(rows[:, 0], marks.items(), strict=True):
        table = findings.tables[f"curves_{name}"]
        line(axes, 1, table["epoch"], table["train_error"], "training", markersize=2)
        line(axes, 0, table["epoch"], table["test_error"], "evaluation", markersize=2)
        for kind, mark in (("apart", "x"), ("diverged", "*")):
            at = [epoch in found[kind] for epoch in table["epoch"]]
            if any(at):
                label = "evaluation worse than guessing" if kind == "apart" else "training diverged"
                axes.scatter(
                    table["epoch"][at],
                    table["test_error"][at],
                    marker=mark,
                    s=60,
                    color=COLOURS[2],
                    zorder=3,
                    label=label,
                )
                says.append(f"{name}: {label} at epochs {', '.join(f'{epoch:g}' for epoch in found[kind])}")
        axes.set(title=name, ylabel="error", ylim=(0, 1))
        axes.legend(fontsize=7)
        whole_numbers(axes)
    rows[-1, 0].set_xlabel("epoch")
    text = "A cross marks an epoch whose evaluation loss is above that of guessing while its training loss is below. "
    text += ". ".join(says) + "." if says else "No run here came apart."
    name, title = "figure6_curves", "Error against epoch (Figure 6)"
    return Picture(name, title, text, sign(figure, provenance(findings.facts)))
