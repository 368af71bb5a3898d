"""What `drnn.keep_freed_memory` saves on a CPU, against glibc's own way: pairs of processes in turn.

python benchmarks/kept_memory.py [--rounds 2]
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from drnn.bench.measure import run_script, run_static
from drnn.bench.scripted_gate import Scripted
from drnn.bench.subjects import Case, build, images_for, script_for
from drnn.memory import keep_freed_memory
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.timing import seconds

RESULT = Path(__file__).parent / "results" / "kept_memory.json"
SEED, TURNS = 0, 3
CASES = [
    {"name": name, "form": form, "batch_size": batch_size, "threads": 1}
    for form in ("plain", "optimised")
    for batch_size in (8, 32)
    for name in ("dr_resnet53", "resnet101")
]


def work_of(name: str, form: str, batch_size: int) -> Callable[[int], None]:
    """One batch in evaluation; gates follow Figure 8's script."""
    case = Case(name, "resnet101", form, batch_size, TURNS, seed=SEED)
    model = build(name, form, case.seed)
    x = images_for(case, model.input_size)
    if model.target_rate is None:
        return partial(run_static, model, x)
    scripted = Scripted(model, script_for(case, model), batch_size)
    return lambda turn: run_script(scripted, x, max(turn, 0), 0)


def measure(name: str, form: str, batch_size: int, threads: int, keep: bool) -> dict:
    """In this process: seconds a batch, and the memory it has at the end, in bytes."""
    if keep:
        assert keep_freed_memory()
    torch.set_num_threads(threads)
    work = work_of(name, form, batch_size)
    with torch.inference_mode():
        spent = [seconds(work, turn, device="cpu") for turn in range(-2, TURNS)]
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return {"seconds": median(spent[2:]), "resident_bytes": pages * resource.getpagesize()}


def in_a_process(case: dict, keep: bool) -> dict:
    """`measure` in a process of its own: what was kept cannot be given up again."""
    command = [sys.executable, __file__, "--case", json.dumps({**case, "keep": keep})]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def compare(case: dict, rounds: int) -> dict:
    """Both ways in turn, ``rounds`` times."""
    kept, returned = [], []
    for turn in range(rounds):
        for found, keep in ((kept, True), (returned, False))[:: 1 if turn % 2 else -1]:
            found.append(in_a_process(case, keep))
    return {
        **case,
        "rounds": rounds,
        "seconds": [median(run["seconds"] for run in runs) for runs in (kept, returned)],
        "ratio": median(a["seconds"] / b["seconds"] for a, b in zip(kept, returned, strict=True)),
        "resident_bytes": [median(run["resident_bytes"] for run in runs) for runs in (kept, returned)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="pairs of processes a case")
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--case", type=json.loads, default=None, help="measure this one here, and print it")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(**options.case)))
        return
    entries = []
    for case in CASES:
        entries.append(compare(case, options.rounds))
        write_json(options.json, {"environment": environment("cpu"), "seed": SEED, "entries": entries})
        print({key: value for key, value in entries[-1].items() if key != "resident_bytes"}, flush=True)


if __name__ == "__main__":
    main()
