"""Tables of `benchmarks/results`, as Markdown."""

from sources import distinct, read, source, table

from drnn.bench import report


def input_pipeline() -> str:
    path = "benchmarks/results/input_pipeline.json"
    result = read(path, "python benchmarks/input_pipeline.py --data_root DIR")
    part = result["input"]
    rates = "; ".join(f"{side} {rate:,.0f}" for side, rate in zip(part["sides"], part["images_per_s"], strict=True))
    row = (f"batch {part['batch_size']}, {part['rounds']} pairs", rates, f"{part['ratio']:.2f}")
    return table(("", "images per second", "ratio"), [row]) + source(path, result["environment"], result["seed"])


def train_step() -> str:
    path = "benchmarks/results/train_step_cpu.json"
    result = read(path, "python benchmarks/train_step.py --data_root DIR")
    rows = [
        (*part["sides"], " / ".join(f"{rate:,.0f}" for rate in part["images_per_s"]), f"{part['time_ratio']:.3f}")
        for kind in ("plain_loop", "static", "norms")
        for part in result[kind].values()
    ]
    header = ("", "against", "images per second", "time ratio, paired")
    return table(header, rows) + source(path, result["environment"], result["seed"])


def table1_starts() -> str:
    path = "benchmarks/results/table1_starts.json"
    result = read(path, "python benchmarks/table1_starts.py --data_root DIR")
    rows = []
    for row in result["rows"]:
        loss, loops = (" ".join(f"{value:.2f}" for value in row[key]) for key in ("train_loss", "mean_loops"))
        train, test = (" ".join(f"{value:.1%}" for value in row[key]) for key in ("train_error", "test_error"))
        rows.append((row["row"], loss, train, test, loops))
    header = ("row", "training loss", "training error", "held-out error", "loops")
    return table(header, rows) + source(path, result["environment"], result["seed"])


def export() -> str:
    rows, sources = [], []
    for form, threads in (("branches", 1), ("branches", 2), ("single", 1), ("single", 2)):
        path = f"benchmarks/results/export_{threads if form == 'branches' else f'{form}_{threads}'}.json"
        result = read(path, f"drnn bench export --form {form} --threads {threads} --json {path}")
        ours, static = result["networks"]
        for part, closed in zip(result["efficiency"], result["closed"], strict=True):
            ms = " / ".join(f"{each:.1f}" for each in part["latency_ms"])
            numbers = (ms, *(f"{part[name]:.3f}" for name in ("macs_ratio", "time_ratio", "efficiency")))
            place = (form, result["session_threads"], part["batch_size"], f"{part['mean_loops']:.2f}")
            rows.append((*place, *numbers, f"{closed['time_ratio']:.3f}"))
        here = result["environment"] | {"threads": result["session_threads"]}  # of onnxruntime, not of torch
        sources.append(source(path, here, result["seed"]))
    ms, work = f"ms a batch, {ours} / {static}", "multiply-adds ratio"
    header = ("form", "threads", "batch", "loops", ms, work, "time", "efficiency", "gates closed / fixed part")
    return table(header, rows) + "".join(sources)


def export_sizes() -> str:
    path = "benchmarks/results/export_sizes.json"
    result = read(path, "python benchmarks/export_sizes.py")
    kinds = ("safetensors", "branches, once", "branches, folded", "loop, once")
    rows = [
        (row["name"], *(f"{row[kind] / 1e6:.2f}" if kind in row else "-" for kind in kinds)) for row in result["files"]
    ]
    header = ("MB", "safetensors", "ONNX, once", "folded", "loop")
    return table(header, rows) + source(path, result["environment"], result["seed"])


def export_quantised() -> str:
    path = "benchmarks/results/export_quantised.json"
    result = read(path, "python benchmarks/export_quantised.py --data_root DIR")
    rows = []
    for row in result["rows"]:
        loops = f"{row['mean_loops']:.2f}, {row['other_loops']:.1%}" if row["mean_loops"] else "-"
        times = " / ".join(f"{ratio:.2f}" for ratio in row["time_ratio"].values())
        cells = (f"{row['acc1']:.2%}", f"{row['other_answers']:.1%}", loops, f"{row['bytes'] / 1e6:.2f}", times)
        rows.append((row["network"], f"`{row['way']}`", *cells))
    batches = " / ".join(result["rows"][0]["time_ratio"])
    header = ("network", "made by", "accuracy", "images of another class than in float32", "loops, images with others",
              "MB", f"time / float32, batch {batches}")  # fmt: skip
    said = f"\nonnxruntime {result['onnxruntime']}, {result['rows'][0]['images']:,} test images.\n"
    return table(header, rows) + said + source(path, result["environment"], result["seed"])


def inference(path: str = "benchmarks/results/inference.json", how: str = "") -> str:
    entries = read(path, f"drnn bench inference {how}--json {path}")["entries"]
    environments = [entry["environment"] for entry in entries]
    where = ("commit", "processor", "cores", "python", "torch", "gpu")
    changes = {
        "command": distinct((part["command"] for part in environments), "`, `"),
        **{name: distinct((part[name] for part in environments if part[name]), " and ") for name in where},
        "threads": "as above",
    }
    return report.markdown(entries) + source(path, environments[-1] | changes, entries[-1]["seed"])


def inference_gpu() -> str:
    return inference("benchmarks/results/inference_gpu.json", "--device cuda ")


def budget() -> str:
    path = "benchmarks/results/budget.json"
    result = read(path, "python benchmarks/budget.py --data_root DIR")
    rows = []
    for row in result["rows"]:
        on_training = row["macs_training"] / row["macs_asked"] - 1
        cells = (f"{on_training:+.2%}", f"{row['missed']:+.2%}", f"{row['standard_error']:.2%}", f"{row['acc1']:.2%}")
        rows.append((row["network"], row["share"], row["scope"], *cells, f"{row['images']:,}"))
    header = ("network", "share asked for", "thresholds", "missed by, training images", "test images",
              "one standard error", "accuracy", "test images")  # fmt: skip
    return table(header, rows) + source(path, result["environment"], result["seed"])


def kept_memory() -> str:
    path = "benchmarks/results/kept_memory.json"
    result = read(path, "python benchmarks/kept_memory.py")
    rows = []
    for row in result["entries"]:
        kept, returned = (f"{seconds * 1e3 / row['batch_size']:.1f}" for seconds in row["seconds"])
        size = " / ".join(f"{size / 1e6:,.0f}" for size in row["resident_bytes"])
        rows.append((row["name"], row["form"], row["batch_size"], kept, returned, f"{row['ratio']:.3f}", size))
    header = ("network", "form", "batch", "ms an image: kept", "returned", "time ratio, paired",
              "MB of the process after 5 batches: kept / returned")  # fmt: skip
    threads = distinct(row["threads"] for row in result["entries"])  # of the processes that were timed
    here = result["environment"] | {"threads": threads, "freed_memory": "kept and returned"}
    return table(header, rows) + source(path, here, result["seed"])
