"""Empty figures, and figures as files; matplotlib, the extra ``plot``, is loaded here and nowhere else."""

from pathlib import Path
from typing import Any

from drnn.storage import refuse_place, write_atomically


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty figure, without matplotlib's global state.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "a picture needs matplotlib: pip install 'drnn[plot]'; or leave pictures out, CSV and JSON do without"
        ) from error
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
