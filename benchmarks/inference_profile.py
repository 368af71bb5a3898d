"""Where a recursive network's milliseconds go at inference, part by part, and those of its static counterpart.

python benchmarks/inference_profile.py                              dr_resnet53 and resnet101, batch 1, one thread
python benchmarks/inference_profile.py --first dr_resnet74_cifar --batch_size 256

Every part is timed around its forward, in one run after the other of both networks: means over the rounds, since a
body's batch shrinks from call to call. Freed memory is kept, as ``drnn bench`` does. A multiply-add is not equally dear
everywhere, so each part's milliseconds a G multiply-adds tell what efficiency can come to.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from drnn.bench.measure import run_script
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build, images_for, script_for
from drnn.core import RecursiveBlock
from drnn.memory import keep_freed_memory
from drnn.models import create_model
from drnn.models.counterparts import COUNTERPARTS
from drnn.provenance import environment
from drnn.storage import write_json


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Stem and head, every ordinary block, and of every recursive block its body and its gate."""
    parts: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if not name.startswith("layer"):
            parts[name] = child
            continue
        for number, block in child.named_children():
            if isinstance(block, RecursiveBlock):
                parts |= {f"{name}.{number}.body": block.body, f"{name}.{number}.gate": block.gate}
            else:
                parts[f"{name}.{number}"] = block
    return parts


class Clock:
    """Seconds of every part of a network, calls and images that went through, since the last reading."""

    def __init__(self, model: nn.Module):
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.images: dict[str, int] = defaultdict(int)
        for name, module in parts_of(model).items():
            module.forward = partial(self.timed, name, module.forward)  # hooks would keep ranks from closing in place

    def timed(self, name: str, forward: Callable, x: torch.Tensor, *others: Any) -> Any:
        """Run a part, and note how long it took."""
        started = perf_counter()
        out = forward(x, *others)
        self.seconds[name] += perf_counter() - started
        self.calls[name] += 1
        self.images[name] += len(x)
        return out

    def read(self) -> tuple[dict[str, float], dict[str, int], dict[str, int]]:
        """Seconds, calls and images of each part."""
        kept = (self.seconds, self.calls, self.images)
        found = tuple(dict(part) for part in kept)
        for part in kept:
            part.clear()
        return found  # type: ignore[return-value]


def macs_of_parts(name: str) -> dict[str, float]:
    """Multiply-adds of one call of each part for one image."""
    model = create_model(name).eval()
    for block in model.modules():
        if isinstance(block, RecursiveBlock):
            block.forward = partial(one_loop, block)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *model.input_size))
    counted = counter.get_flop_counts()
    prefix = type(model).__name__
    return {part: sum(counted.get(f"{prefix}.{part}", {}).values()) / 2 for part in parts_of(model)}


def one_loop(block: RecursiveBlock, x: torch.Tensor) -> torch.Tensor:
    block.gate(x)
    return block.body(x, 0, None)


@torch.inference_mode()
def profile(case: Case) -> dict:
    with torch.inference_mode(False):
        ours, static = (build(name, case.form, case.seed) for name in (case.first, case.second))
        scripted = Scripted(ours, script_for(case, ours), case.batch_size)
    x = images_for(case, ours.input_size)
    clocks = [Clock(ours), Clock(static)]
    kept: list[list[tuple[float, dict, dict, dict]]] = [[], []]
    for turn in range(-3, case.rounds):
        for side, work in enumerate((partial(run_script, scripted, x, max(turn, 0), 0), partial(static, x))):
            started = perf_counter()
            work()
            whole = perf_counter() - started
            found = clocks[side].read()
            if turn >= 0:
                kept[side].append((whole, *found))
    pair = (case.first, case.second)
    return {
        "environment": environment("cpu"),
        "seed": case.seed,
        "networks": list(pair),
        "form": case.form,
        "batch_size": case.batch_size,
        "rounds": case.rounds,
        "sides": [table(name, rounds, case.batch_size) for name, rounds in zip(pair, kept, strict=True)],
    }


def table(name: str, rounds: list[tuple[float, dict, dict, dict]], batch_size: int) -> dict:
    """Part by part: calls a batch, how often an image goes through, milliseconds an image, G multiply-adds a pass.

    "between" is what no part accounts for.
    """
    macs, rows = macs_of_parts(name), []
    for part in macs:
        seconds = mean(found.get(part, 0.0) for _, found, _, _ in rounds)
        calls, images = (mean(found[side].get(part, 0) for _, *found in rounds) for side in (1, 2))
        row = {"part": part, "calls": calls, "passes": images / batch_size, "ms": seconds * 1e3 / batch_size}
        rows.append({**row, "g_macs_a_pass": macs[part] / 1e9})
    whole = mean(found[0] for found in rounds) * 1e3 / batch_size
    return {"name": name, "ms": whole, "between_ms": whole - sum(row["ms"] for row in rows), "parts": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="dr_resnet53", help="a recursive network")
    parser.add_argument("--form", default="plain", choices=["plain", "optimised"])
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "inference_profile.json")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    case = Case(options.first, COUNTERPARTS[options.first], options.form, options.batch_size, options.rounds)
    result = profile(case)
    write_json(options.json, result)
    for side in result["sides"]:
        print(f"{side['name']}: {side['ms']:.1f} ms an image, {side['between_ms']:.2f} between the parts")
        for row in side["parts"]:
            macs = row["passes"] * row["g_macs_a_pass"]
            rate = row["ms"] / macs if macs > 0.001 else 0.0
            print(f"  {row['part']:16} {row['calls']:5.2f} calls {row['passes']:5.2f} passes {row['ms']:7.2f} ms, "
                  f"{rate:5.1f} ms a G")  # fmt: skip


if __name__ == "__main__":
    main()
