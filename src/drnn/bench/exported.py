"""What skipping saves in onnxruntime: an exported network against its exported static counterpart, in pairs."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from drnn.bench.pairs import refuse_foreign, refuse_pair
from drnn.bench.scripts import script_by_total
from drnn.bench.subjects import FIGURE_8, build, costs_of, skeleton
from drnn.bench.taught_gates import teach
from drnn.core import RecursiveBlock
from drnn.export.runner import OnnxNetwork
from drnn.models import Classifier, create_model
from drnn.provenance import environment
from drnn.storage import refuse_place, write_json
from drnn.timing import time_pairs

SEED, IMAGES = 0, 16
FILES = ("ours", "static", "fixed")


@dataclass(frozen=True)
class ExportCase:
    """What is exported and timed.

    Attributes:
        first: a recursive network by name.
        second: the static network by name.
        mean_loops: that the images take on average.
        batch_sizes: images at a time.
        rounds: pairs at batch 1; fewer at larger ones.
        threads: of onnxruntime.
        form: of `drnn.export`, for all files: "branches", or "single" for batch size 1.
    """

    first: str
    second: str
    mean_loops: float
    batch_sizes: tuple[int, ...]
    rounds: int
    threads: int
    form: str = "branches"

    def __post_init__(self):
        if not self.batch_sizes or not 1 <= min(self.batch_sizes) <= max(self.batch_sizes) <= IMAGES:
            raise ValueError(f"batch sizes {self.batch_sizes} received; each is 1 to {IMAGES}")
        if self.form == "single" and set(self.batch_sizes) != {1}:
            raise ValueError(f"batch sizes {self.batch_sizes} received; the form 'single' takes one image at a time")
        if self.rounds < 1 or self.threads < 1:
            raise ValueError(f"rounds {self.rounds} and threads {self.threads} received; each is 1 or more")


def measure_case(case: ExportCase, folder: Path) -> dict:
    """Export, unless ``folder`` holds files of this very commit, and time; plain numbers, as a result file keeps them.

    Returns:
        ``efficiency`` and ``closed``, an entry a batch size each; see `measure_efficiency` and `measure_closed`.

    Raises:
        OSError: a folder that cannot be made; nothing was exported.
        ValueError: two networks that make no pair, see `drnn.bench.pairs`, or one of torchvision's.
    """
    import onnxruntime

    refuse_foreign(case.first, case.second)
    refuse_pair(case.first, case.second)
    folder = folder / f"{case.first}-{case.second}-{case.mean_loops:g}-{case.form}"
    images, files = images_of(case.first), {name: folder / f"{name}.onnx" for name in FILES}
    made, here = folder / "environment.json", environment("cpu")
    refuse_place(made)
    was = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else {}
    same = all(was.get(name) == here[name] for name in ("commit", "torch"))
    if not same or "dirty" in (here["commit"] or "dirty") or not all(file.is_file() for file in files.values()):
        made.unlink(missing_ok=True)
        _export(case, files, images)
        write_json(made, here)
    return {
        "environment": environment("cpu"),
        "seed": SEED,
        "onnxruntime": onnxruntime.__version__,
        "networks": [case.first, case.second],
        "session_threads": case.threads,
        "form": case.form,
        **measure_all(files, images.numpy(), list(case.batch_sizes), case.rounds, case.threads),
    }


def images_of(name: str) -> Tensor:
    """The images that are timed, ``(P, C, H, W)``."""
    size = create_model(name).input_size
    return torch.randn(IMAGES, *size, generator=torch.Generator().manual_seed(SEED))


def _export(case: ExportCase, files: dict[str, Path], images: Tensor) -> None:
    from drnn.export import export_onnx

    model = taught_network(case.first, images, case.mean_loops)
    export_onnx(model, files["ours"], form=case.form)
    export_onnx(fixed_part(model), files["fixed"], form=case.form)
    torch.manual_seed(SEED)  # its norms as they begin: on two images' statistics 101 layers multiply rounding too far
    export_onnx(create_model(case.second), files["static"], form=case.form)


def taught_network(name: str, images: Tensor, mean_loops: float) -> Classifier:
    """A network by name with random weights, whose gates have ``images`` loop ``mean_loops`` times on average.

    Totals vary from image to image as in Figure 8.
    """
    model = build(name, "plain", SEED)
    slots, rate = costs_of(name).slots, model.target_rate or 1.0
    std = FIGURE_8.get(name, (0, len(slots) ** 0.5 / 2))[1]
    teach(model, script_by_total(slots, mean_loops, std, len(images), rate, SEED), images)
    return model


def usual_loops(name: str) -> float:
    """Loops of an image on average: the paper's where it has them, else those of gates at the target rate."""
    if name in FIGURE_8:
        return FIGURE_8[name][0]
    return costs_of(name).expected_loops(skeleton(name).target_rate or 1.0)


def fixed_part(model: Classifier) -> Classifier:
    """The network without its recursive blocks: what is left where every gate is closed."""
    twin = deepcopy(model)
    for stage in [module for module in twin.modules() if isinstance(module, nn.Sequential)]:
        for name, block in list(stage.named_children()):
            if isinstance(block, RecursiveBlock):
                setattr(stage, name, nn.Identity())
    return twin


def measure_efficiency(
    ours: OnnxNetwork, static: OnnxNetwork, images: np.ndarray, batch_size: int, rounds: int
) -> dict:
    """Times in pairs, and skipping efficiency: (static time / ours) / (static multiply-adds / ours); 1 is the limit.

    Returns:
        Median and 95th percentile of the milliseconds a batch of both, and medians over the pairs of the ratio of
        multiply-adds, of times, and of the efficiency.
    """
    batches = [images[i : i + batch_size] for i in range(0, len(images) - batch_size + 1, batch_size)]
    times = time_pairs(
        lambda turn: ours(batches[turn % len(batches)]),
        lambda turn: static(batches[turn % len(batches)]),
        rounds,
        device="cpu",
    )
    spent = [ours(batch) for batch in batches]
    share = [float(run.macs.sum() / static(batch).macs.sum()) for run, batch in zip(spent, batches, strict=True)]
    shares = [share[turn % len(batches)] for turn in range(rounds)]
    pairs = list(zip(times.first_s, times.second_s, shares, strict=True))
    return {
        "batch_size": batch_size,
        "rounds": rounds,
        "mean_loops": float(np.mean([run.loops.sum(1).mean() for run in spent])),
        "latency_ms": [1e3 * seconds for seconds in times.medians_s],
        "p95_ms": [1e3 * seconds for seconds in times.p95_s],
        "macs_ratio": median(shares),
        "time_ratio": times.ratio,
        "efficiency": median(static_s * part / ours_s for ours_s, static_s, part in pairs),
    }


def measure_closed(ours: OnnxNetwork, fixed: OnnxNetwork, images: np.ndarray, batch_size: int, rounds: int) -> dict:
    """All gates closed against the fixed part alone: what asking costs."""
    closed = np.full(len(ours.facts["num_loops"]), np.inf, np.float32)
    batch = images[:batch_size]
    times = time_pairs(lambda _: ours(batch, closed), lambda _: fixed(batch), rounds, device="cpu")
    return {
        "batch_size": batch_size,
        "rounds": rounds,
        "latency_ms": [1e3 * seconds for seconds in times.medians_s],
        "time_ratio": times.ratio,
    }


def measure_all(
    files: dict[str, Path],
    images: np.ndarray,
    batch_sizes: list[int],
    rounds: int,
    threads: int,
) -> dict:
    """Both measurements of ``files`` "ours", "static" and "fixed" at each batch size; the larger, the fewer rounds."""
    ours, static, fixed = (OnnxNetwork(files[name], threads) for name in ("ours", "static", "fixed"))
    result: dict = {"efficiency": [], "closed": []}
    for size in batch_sizes:
        pairs = max(5, rounds // size)
        result["efficiency"].append(measure_efficiency(ours, static, images, size, pairs))
        result["closed"].append(measure_closed(ours, fixed, images, size, pairs))
    return result
