"""Figures, each from the arrays alone."""

from collections.abc import Callable

from drnn.analysis.figures import blocks, curves, images, loops
from drnn.analysis.figures.gradients import draw_study
from drnn.analysis.figures.style import Missing, Picture
from drnn.analysis.findings import Findings

__all__ = ["Missing", "Picture", "draw", "draw_study"]

DRAWINGS: tuple[Callable[[Findings], Picture | Missing], ...] = (
    loops.histogram,
    loops.by_class,
    loops.errors,
    loops.macs,
    blocks.execution,
    blocks.early,
    blocks.norms,
    images.easiest,
    images.hardest,
    images.robustness,
    curves.curves,
)


def draw(findings: Findings) -> list[Picture | Missing]:
    """Every picture of a run's findings, the gradient study's last.

    Raises:
        ValueError: matplotlib is not installed.
    """
    pictures = [drawing(findings) for drawing in DRAWINGS]
    return pictures + draw_study(findings.facts["gradients"], findings.tables["gradients"])
