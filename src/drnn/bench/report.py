"""Result files of ``drnn bench inference`` as Markdown."""

from drnn.bench.inference import straight_line

HEADER = ("form", "threads", "batch", "pairs", "loops an image", "ms per batch: first", "second", "images per s",
          "time ratio", "MACs ratio", "efficiency", "limit", "p95 / median", "peak MB", "weights MB")  # fmt: skip

WHERE = ("first", "second", "device", "gpu", "seed")  # what one table has in common


def markdown(entries: list[dict]) -> str:
    """A table a pair of networks, device, GPU and seed: entries at the pair's own loops, then the line of swept rates.

    Device, GPU and seed are named where there are several.
    """
    parts, tables = [], list(dict.fromkeys(map(_table, entries)))
    several = [index for index in range(2, len(WHERE)) if len({key[index] for key in tables}) > 1]
    for key in tables:
        own = [entry for entry in entries if _table(entry) == key]
        where = "".join(f", {WHERE[index]} {key[index]}" for index in several)
        parts.append("\n".join([f"`{key[0]}` against `{key[1]}`{where}", "", *_own_loops(own), *_lines(own)]))
    return "\n\n".join(parts) + "\n"


def _table(entry: dict) -> tuple:
    return tuple((entry["environment"] if name == "gpu" else entry).get(name) for name in WHERE)


def _own_loops(entries: list[dict]) -> list[str]:
    own = [entry for entry in entries if entry["rate"] is None]
    if not own:
        return []
    gates = {_gates(entry) for entry in own}
    rows = map(_row, sorted(own, key=lambda entry: (entry["form"], entry["threads"], entry["batch_size"])))
    return [*sorted(gates), "", _line(HEADER), _line(["---"] * len(HEADER)), *map(_line, rows), ""]


def _gates(entry: dict) -> str:
    """Entries from before runs could be timed say nothing of their gates; all were scripted."""
    if not entry["max_loops"]:
        return "No gates."
    kind = entry.get("gates", "scripted")
    return f"Gates {kind}, {entry['max_loops']} loops."


def _row(entry: dict) -> tuple[str, ...]:
    ours, static = entry["latency_s"]
    return (
        entry["form"], str(entry["threads"]), str(entry["batch_size"]), str(entry["rounds"]),
        f"{entry['mean_loops']:.2f} ± {entry['std_loops']:.2f}" if entry["max_loops"] else "-",
        f"{ours * 1e3:.1f}", f"{static * 1e3:.1f}", " / ".join(f"{rate:.1f}" for rate in entry["images_per_s"]),
        f"{entry['ratio']:.3f}",
        f"{entry['macs_mean'] / entry['static_macs']:.3f}", f"{entry['efficiency']:.3f}",
        _share(entry["limit"]), f"{entry['latency_p95_s'][0] / ours:.2f}",
        _megabytes(entry["peak_bytes"]), _megabytes(entry.get("weight_bytes")),
    )  # fmt: skip


def _megabytes(sizes: list[int] | None) -> str:
    """Files from before weights were counted have none."""
    return "-" if sizes is None else " / ".join(f"{size / 1e6:.1f}" for size in sizes)


def _lines(entries: list[dict]) -> list[str]:
    swept = [entry for entry in entries if entry["rate"] is not None]
    rows = []
    for key in dict.fromkeys((entry["form"], entry["threads"], entry["batch_size"]) for entry in swept):
        own = [entry for entry in swept if (entry["form"], entry["threads"], entry["batch_size"]) == key]
        if len(own) > 2:
            line = straight_line(own)
            rows.append((*map(str, key), str(len(own)), f"{line['r2']:.4f}", _share(line["rest"])))
    if not rows:
        return []
    header = ("form", "threads", "batch", "rates from 1 to 0", "R^2 of time on MACs", "time at rate 0 / fixed part")
    return ["", _line(header), _line(["---"] * len(header)), *map(_line, rows)]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"
