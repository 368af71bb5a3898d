"""One look for all figures: readable on a phone, in grey, and by the colour-blind."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill
from typing import Any

from drnn.drawing import new_figure
from drnn.storage import write_atomically

WIDTH_IN, DPI = 4.8, 200
CHARACTERS = 84  # of the provenance, on a line
# Okabe and Ito's black, blue and orange: apart in hue for every kind of colour vision, and in lightness for grey.
COLOURS = ("#000000", "#0072B2", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MAP = "cividis"


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with what it says.

    Attributes:
        name: of its files.
        title: its heading.
        says: what was measured, in a sentence or two.
        figure: matplotlib's.
    """

    name: str
    title: str
    says: str
    figure: Any

    @cached_property
    def png(self) -> bytes:
        """As PNG."""
        content = self._bytes("png")
        self.figure.set_layout_engine("none")  # laid out once; the same places serve the SVG
        return content

    def save(self, folder: Path) -> None:
        """Write ``name.png`` and ``name.svg``."""
        write_atomically(folder / f"{self.name}.png", lambda part: part.write_bytes(self.png))
        write_atomically(folder / f"{self.name}.svg", lambda part: part.write_bytes(self._bytes("svg")))

    def _bytes(self, form: str) -> bytes:
        content = io.BytesIO()
        self.figure.savefig(content, format=form, dpi=DPI)
        return content.getvalue()


@dataclass(frozen=True)
class Missing:
    """A picture that cannot be drawn from these findings, and why."""

    name: str
    title: str
    reason: str


def canvas(height_in: float, rows: int = 1, columns: int = 1, **options) -> tuple[Any, Any]:
    """An empty figure and its axes.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure = new_figure(WIDTH_IN, height_in)
    return figure, figure.subplots(rows, columns, **options)


def line(axes: Any, index: int, x: Any, y: Any, label: str, **options) -> None:
    """Line number ``index``: its colour, dash and marker differ from every other's."""
    style = {"color": COLOURS[index % 3], "linestyle": LINES[index % 6], "marker": MARKERS[index % 6], "markersize": 4}
    axes.plot(x, y, label=label, **{**style, **options})


def whole_numbers(axes: Any) -> None:
    """Only integers along x."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def provenance(facts: dict, images: str | None = None) -> str:
    """Checkpoint, commits, data set and images: every figure says where it comes from.

    Args:
        facts: of `drnn.analysis.findings.Findings`.
        images: what was looked at, where it is not the test images.
    """
    trained, analysed = (facts[key].get("commit") or "unknown" for key in ("trained", "analysed"))
    shown = images or f"{facts['images']:,} {facts.get('tested_on', 'test images')}"
    return (
        f"{facts['run']} ({facts['model']}, weights {facts['weights']})\n{facts['dataset']}, {shown}; "
        f"trained at commit {trained}, analysed at {analysed}"
    )


def sign(figure: Any, text: str) -> Any:
    """Put the provenance under a figure, its lines broken where they would not fit."""
    broken = "\n".join(fill(line, CHARACTERS, subsequent_indent="  ") for line in text.splitlines())
    figure.supxlabel(broken, fontsize=7.5, color="#444444", x=0.01, ha="left")
    return figure
