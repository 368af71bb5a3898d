"""The curve as a picture; needs matplotlib, the extra ``plot``."""

from pathlib import Path

from drnn.drawing import new_figure, save_figure


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
