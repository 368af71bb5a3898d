"""Result files of ``drnn bench inference`` as a picture; needs matplotlib, the extra ``plot``."""

from pathlib import Path

from drnn.drawing import new_figure, save_figure


def draw_times(entries: list[dict], file: Path) -> None:
    """Milliseconds an image against executed multiply-adds, a panel a pair, form, batch size, device and so on.

    Swept rates make a line, with the static network and the fixed part as points.

    Raises:
        ValueError: matplotlib is not installed, nothing to draw, or an ending that matplotlib does not know.
    """
    drawn = [entry for entry in entries if entry["ends_s"]]
    panels = list(dict.fromkeys(_panel(entry) for entry in drawn))
    if not panels:
        raise ValueError("no measurements of recursive networks received; run drnn bench inference first")
    columns, drawn_pair = min(4, len(panels)), None
    rows = -(-len(panels) // columns)
    figure = new_figure(4 * columns, 3.4 * rows)
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        own = sorted((entry for entry in drawn if _panel(entry) == panel), key=lambda entry: entry["macs_mean"])
        first, second, form, threads, size, device, seed, gpu = panel
        axes.plot(*_points(own, "macs_mean", "latency_s", size), "o-", label=first)
        axes.plot(*_points(own[:1], "fixed_macs", "ends_s", size), "s", label="its fixed part")
        axes.plot(own[0]["static_macs"] / 1e9, _middle(own, size), "^", label=second)
        where = f"{threads} threads" if device == "cpu" else device
        where += f", {gpu}" if len({panel[-1] for panel in panels}) > 1 else ""
        where += f", seed {seed}" if len({entry["seed"] for entry in drawn}) > 1 else ""
        axes.set(title=f"{form}, batch {size}, {where}", xlim=(0, None), ylim=(0, None))
        axes.set(xlabel="G multiply-adds an image, mean", ylabel="ms an image")
        axes.grid(alpha=0.3)
        if panel[:2] != drawn_pair:
            drawn_pair = panel[:2]
            axes.legend()
    save_figure(figure, file)


def _panel(entry: dict) -> tuple:
    own = tuple(entry[name] for name in ("first", "second", "form", "threads", "batch_size", "device", "seed"))
    return (*own, entry["environment"].get("gpu"))


def _points(entries: list[dict], macs: str, seconds: str, size: int) -> tuple[list[float], list[float]]:
    return [entry[macs] / 1e9 for entry in entries], [entry[seconds][0] * 1e3 / size for entry in entries]


def _middle(entries: list[dict], size: int) -> float:
    ordered = sorted(entry["latency_s"][1] for entry in entries)
    return ordered[len(ordered) // 2] * 1e3 / size
