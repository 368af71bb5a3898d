"""Figure 9: the easiest and the hardest images of each class; and what happens to loops as images get worse."""

from functools import partial

import numpy as np

from drnn.analysis.figures.style import COLOURS, WIDTH_IN, Picture, canvas, line, provenance, sign
from drnn.analysis.findings import Findings
from drnn.analysis.robustness import UNITS

MOST_CLASSES = 10
PITCH = 1.45  # of the rows, in columns: room for three lines of text


def gallery(side: str, findings: Findings) -> Picture:
    """Figure 9, the "easiest" or the "hardest" images."""
    table, answers, names = findings.tables["gallery"], findings.tables["answers"], findings.facts["classes"]
    rows = table[side][:MOST_CLASSES]
    classes, each = rows.shape
    figure, axes = canvas(0.8 + PITCH * classes * WIDTH_IN / each)
    axes.set_axis_off()
    for (label, place), row in np.ndenumerate(rows):
        if row < 0:
            continue
        pixels = table[f"{side}_pixels"][label, place].transpose(1, 2, 0).squeeze()
        top = label * PITCH
        box = (place, place + 0.9, top + 0.9, top)
        axes.imshow(pixels, extent=box, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        wrong = answers["predicted"][row] != answers["labels"][row]
        said = f"not {names[label]}:\n{names[answers['predicted'][row]]}" if wrong else f"{names[label]}\n"
        axes.text(
            place + 0.45, top - 0.03, f"{_loops(answers['loops'][row])}\n{said}", ha="center", va="bottom", fontsize=7,
            fontweight="bold" if wrong else "normal",
        )  # fmt: skip
    axes.set(xlim=(0, each), ylim=(classes * PITCH, -0.55), aspect="equal")
    shown = rows[rows >= 0]
    errors = (answers["predicted"][shown] != answers["labels"][shown]).mean()
    says = (
        f"The {side} images of each class, one class a row: loops, and the network's answer; in bold, with the truth "
        f"first, where it is wrong ({errors:.0%} of these). Among equal loops the more confident answer is easier."
    )
    if len(names) > MOST_CLASSES:
        says += f" The first {MOST_CLASSES} of {len(names)} classes are shown."
    title = f"The {side} images (Figure 9)"
    return Picture(f"figure9_{side}", title, says, sign(figure, provenance(findings.facts)))


def _loops(count) -> str:
    return f"{count} loop" if count == 1 else f"{count} loops"


easiest, hardest = partial(gallery, "easiest"), partial(gallery, "hardest")


def robustness(findings: Findings) -> Picture:
    """Loops and errors under blur, noise and occlusion."""
    figure, grid = canvas(7.2, 3, 2)
    says = []
    for row, (name, unit) in enumerate(UNITS.items()):
        table = findings.tables[f"robustness_{name}"]
        for axes, key in zip(grid[row], ("loops", "error"), strict=True):
            line(axes, row, table["strength"], table[key], name)
            axes.fill_between(
                table["strength"], table[f"{key}_low"], table[f"{key}_high"], color=COLOURS[row], alpha=0.2, linewidth=0
            )
            axes.set_ylabel(key)
            axes.set_title(name, fontsize=9)
            axes.set_xlabel(unit, fontsize=7)
            axes.grid(alpha=0.3)
        loops = table["loops"]
        peak = int(np.argmax(loops))
        says.append(
            f"{name}: {loops[0]:.2f} loops become {loops[-1]:.2f} at the strongest (most: {loops[peak]:.2f} at "
            f"{table['strength'][peak]:g}), the error goes from {table['error'][0]:.1%} to {table['error'][-1]:.1%}"
        )
    text = "Do loops rise on worse images? " + "; ".join(says) + ". Bands are 95 % intervals."
    name, title = "robustness", "Blur, noise and occlusion"
    return Picture(name, title, text, sign(figure, provenance(findings.facts)))
