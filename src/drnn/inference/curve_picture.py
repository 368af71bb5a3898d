"""The curve as a picture; needs matplotlib, the extra ``plot``."""

from pathlib import Path
from typing import Any

from drnn.storage import refuse_place, write_atomically


def draw_curve(result: dict, file: Path) -> None:
    """Accuracy against multiply-adds (left) and milliseconds (right); static runs and trained thresholds as points.

    Raises:
        ValueError: matplotlib is not installed, or it does not know the file's ending.
    """
    figure = new_figure(9, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, scale, title in ((left, "macs_mean", 1e-6, "M multiply-adds"), (right, "latency_ms", 1, "ms")):
        dial = [row for row in result["rows"] if row["position"] is not None]
        axes.plot([row[key] * scale for row in dial], [100 * row["acc1"] for row in dial], ".-", label="gates turned")
        for row in result["rows"]:
            if row["position"] is None:
                axes.plot(row[key] * scale, 100 * row["acc1"], "o", label=f"{row['run']}, as trained")
        axes.set_xlabel(f"{title} an image, mean" if scale != 1 else f"{title} an image, batch {result['batch_size']}")
        axes.grid(alpha=0.3)
    left.set_ylabel("test accuracy, %")
    left.legend()
    save_figure(figure, file)


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty figure, without matplotlib's global state.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("a picture needs matplotlib: pip install 'drnn[plot]'; CSV and JSON do without") from error
    return Figure(figsize=(width_in, height_in), layout="constrained")


def save_figure(figure: Any, file: Path) -> None:
    """Write a figure, whole or not at all.

    Raises:
        ValueError: an ending that matplotlib does not know.
    """
    kind = _kind(figure, file)
    write_atomically(file, lambda part: figure.savefig(part, format=kind, dpi=120))


def refuse_picture(file: Path) -> None:
    """Before long work: whether a picture can be drawn to ``file``.

    Raises:
        ValueError: matplotlib is not installed, or it does not know the file's ending.
        OSError: a place that cannot be written.
    """
    _kind(new_figure(1, 1), file)
    refuse_place(file)


def _kind(figure: Any, file: Path) -> str:
    kind = file.suffix[1:].lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{file.name} received; a picture ends in .png, .svg or .pdf")
    return kind
