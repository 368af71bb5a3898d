"""Tables of `benchmarks/results`, as Markdown."""

from sources import read, source

from drnn.bench import report


def input_pipeline() -> str:
    path = "benchmarks/results/input_pipeline.json"
    result = read(path, "python benchmarks/input_pipeline.py --data_root DIR")
    lines = ["| | images per second | ratio |", "| --- | --- | --- |"]
    part = result["input"]
    rates = "; ".join(f"{side} {rate:,.0f}" for side, rate in zip(part["sides"], part["images_per_s"], strict=True))
    lines.append(f"| batch {part['batch_size']}, {part['rounds']} pairs | {rates} | {part['ratio']:.2f} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def train_step() -> str:
    path = "benchmarks/results/train_step_cpu.json"
    result = read(path, "python benchmarks/train_step.py --data_root DIR")
    lines = ["| | against | images per second | time ratio, paired |", "| --- | --- | --- | --- |"]
    for part in (entry for kind in ("plain_loop", "static", "norms") for entry in result[kind].values()):
        rates = " / ".join(f"{rate:,.0f}" for rate in part["images_per_s"])
        lines.append(f"| {part['sides'][0]} | {part['sides'][1]} | {rates} | {part['time_ratio']:.3f} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def table1_starts() -> str:
    path = "benchmarks/results/table1_starts.json"
    result = read(path, "python benchmarks/table1_starts.py --data_root DIR")
    lines = ["| row | training loss | training error | held-out error | loops |", "| --- | --- | --- | --- | --- |"]
    for row in result["rows"]:
        loss, loops = (" ".join(f"{value:.2f}" for value in row[key]) for key in ("train_loss", "mean_loops"))
        train, test = (" ".join(f"{value:.1%}" for value in row[key]) for key in ("train_error", "test_error"))
        lines.append(f"| {row['row']} | {loss} | {train} | {test} | {loops} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def export() -> str:
    lines, sources = [], []
    for threads in (1, 2):
        path = f"benchmarks/results/export_{threads}.json"
        result = read(path, f"drnn bench export --threads {threads} --json {path}")
        ours, static = result["networks"]
        for part, closed in zip(result["efficiency"], result["closed"], strict=True):
            numbers = " | ".join(f"{part[name]:.3f}" for name in ("macs_ratio", "time_ratio", "efficiency"))
            cells = f"{part['batch_size']} | {part['mean_loops']:.2f} | {numbers} | {closed['time_ratio']:.3f}"
            lines.append(f"| {result['session_threads']} | {cells} |")
        sources.append(source(path, result["environment"], result["seed"]))
    work = f"multiply-adds, {ours} / {static}"
    head = f"| threads | batch | loops | {work} | time | efficiency | gates closed / fixed part |"
    return "\n".join([head, "|" + " --- |" * 7, *lines]) + "\n" + "".join(sources)


def export_sizes() -> str:
    path = "benchmarks/results/export_sizes.json"
    result = read(path, "python benchmarks/export_sizes.py")
    kinds = ("safetensors", "branches, once", "branches, folded", "loop, once")
    lines = ["| MB | safetensors | ONNX, once | folded | loop |", "| --- | --- | --- | --- | --- |"]
    for row in result["files"]:
        cells = (f"{row[kind] / 1e6:.2f}" if kind in row else "-" for kind in kinds)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def inference() -> str:
    path = "benchmarks/results/inference.json"
    entries = read(path, f"drnn bench inference --json {path}")["entries"]
    commands = dict.fromkeys(entry["environment"]["command"] for entry in entries)
    commits = dict.fromkeys(entry["environment"]["commit"] for entry in entries)
    last = {**entries[-1]["environment"], "command": "`, `".join(commands), "commit": " and ".join(commits)}
    return report.markdown(entries) + source(path, {**last, "threads": "as above"}, entries[-1]["seed"])


def budget() -> str:
    path = "benchmarks/results/budget.json"
    result = read(path, "python benchmarks/budget.py --run runs/digits")
    lines = [
        "| share asked for | thresholds | missed by, training images | test images | one standard error | accuracy |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        on_training = row["macs_training"] / row["macs_asked"] - 1
        cells = (f"{on_training:+.2%}", f"{row['missed']:+.2%}", f"{row['standard_error']:.2%}", f"{row['acc1']:.2%}")
        lines.append(f"| {row['share']} | {row['scope']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + source(path, result["environment"], result["seed"])


def kept_memory() -> str:
    path = "benchmarks/results/kept_memory.json"
    result = read(path, "python benchmarks/kept_memory.py")
    lines = [
        "| network | form | batch | ms an image: kept | returned | time ratio, paired | "
        "MB of the process after 5 batches: kept / returned |",
        "|" + " --- |" * 7,
    ]
    for row in result["entries"]:
        kept, returned = (f"{seconds * 1e3 / row['batch_size']:.1f}" for seconds in row["seconds"])
        size = " / ".join(f"{size / 1e6:,.0f}" for size in row["resident_bytes"])
        cells = (row["name"], row["form"], str(row["batch_size"]), kept, returned, f"{row['ratio']:.3f}", size)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + source(path, {**result["environment"], "threads": 1}, result["seed"])
