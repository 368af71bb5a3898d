"""What skipping saves in onnxruntime: an exported network against its exported static counterpart, in pairs."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from drnn.core import Gate, RecursiveBlock
from drnn.export.network import looping_blocks
from drnn.export.runner import OnnxNetwork
from drnn.export.verify import loops_per_block, run_with_hooks, set_thresholds, varied_images
from drnn.models import Classifier, create_model
from drnn.provenance import environment
from drnn.timing import time_pairs

SEED, IMAGES = 0, 16
FILES = ("ours", "static", "fixed")


@dataclass(frozen=True)
class ExportCase:
    """What is exported and timed.

    Attributes:
        first: a recursive network by name.
        second: the static network by name.
        mean_loops: that the images take, about.
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
    """Export what ``folder`` does not hold yet, and time it; plain numbers, as a result file keeps them.

    Returns:
        ``efficiency`` and ``closed``, an entry a batch size each; see `measure_efficiency` and `measure_closed`.
    """
    folder = folder / f"{case.first}-{case.second}-{case.mean_loops:g}-{case.form}"
    images = varied_images(IMAGES, create_model(case.first).input_size)
    if not all((folder / f"{name}.onnx").is_file() for name in FILES):
        _export(case, folder, images)
    import onnx
    import onnxruntime

    held = {part.name: part for part in onnx.load(folder / "ours.onnx").graph.initializer}
    thresholds = onnx.numpy_helper.to_array(held["thresholds"])
    files = {name: folder / f"{name}.onnx" for name in FILES}
    return {
        "environment": environment(),
        "seed": SEED,
        "onnxruntime": onnxruntime.__version__,
        "networks": [case.first, case.second],
        "session_threads": case.threads,
        "form": case.form,
        "thresholds": np.round(thresholds, 6).tolist(),
        **measure_all(files, images.numpy(), thresholds, list(case.batch_sizes), case.rounds, case.threads),
    }


def _export(case: ExportCase, folder: Path, images: Tensor) -> None:
    """The static file last: where all three are there, all are whole."""
    from drnn.export import export_onnx

    model = divided_network(case.first)
    set_thresholds(model, thresholds_for(model, images, case.mean_loops))
    export_onnx(model, folder / "ours.onnx", form=case.form)
    export_onnx(fixed_part(model), folder / "fixed.onnx", form=case.form)
    torch.manual_seed(SEED)
    export_onnx(create_model(case.second), folder / "static.onnx", form=case.form)


def divided_network(name: str) -> Classifier:
    """A network by name with random weights, whose gates answer differently from image to image."""
    torch.manual_seed(SEED)
    model = create_model(name).eval()
    for gate in (block.gate for block in looping_blocks(model)):
        for parameter in gate.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model


def fixed_part(model: Classifier) -> Classifier:
    """The network without its recursive blocks: what is left where every gate is closed."""
    twin = deepcopy(model)
    for stage in [module for module in twin.modules() if isinstance(module, nn.Sequential)]:
        for name, block in list(stage.named_children()):
            if isinstance(block, RecursiveBlock):
                setattr(stage, name, nn.Identity())
    return twin


def thresholds_for(model: Classifier, images: Tensor, mean_loops: float) -> Tensor:
    """Thresholds ``(B,)`` with which ``images`` take about ``mean_loops`` loops: one quantile for all, by bisection."""
    twin, low, high = deepcopy(model), 0.0, 1.0
    found = torch.zeros(len(looping_blocks(model)))
    for _ in range(8):
        share = (low + high) / 2
        found = _quantiles(twin, images, share)
        set_thresholds(twin, found)
        with torch.no_grad():
            loops = loops_per_block(twin, twin.forward_with_gates(images)[1]).sum(1).double().mean()
        low, high = (share, high) if loops > mean_loops else (low, share)
    return found


@torch.no_grad()
def _quantiles(model: Classifier, images: Tensor, share: float) -> Tensor:
    """Of the margins with which images arrive at each block, when the gates before it already decide so."""
    found: dict[Gate, Tensor] = {}

    def choose(gate: Gate, arguments: tuple[Tensor]) -> None:
        if gate not in found:
            margin = gate.decide(gate.scorer(arguments[0])).margin
            gate.threshold.copy_(margin.quantile(share))
            found[gate] = gate.threshold.clone()

    run_with_hooks(model, images, lambda gate: gate.register_forward_pre_hook(choose))
    return torch.stack(list(found.values()))


def measure_efficiency(
    ours: OnnxNetwork, static: OnnxNetwork, images: np.ndarray, thresholds: np.ndarray, batch_size: int, rounds: int
) -> dict:
    """Times in pairs, and skipping efficiency: (static time / ours) / (static multiply-adds / ours); 1 is the limit.

    Returns:
        Median and 95th percentile of the milliseconds a batch of both, and medians over the pairs of the ratio of
        multiply-adds, of times, and of the efficiency.
    """
    batches = [images[i : i + batch_size] for i in range(0, len(images) - batch_size + 1, batch_size)]
    times = time_pairs(
        lambda turn: ours(batches[turn % len(batches)], thresholds),
        lambda turn: static(batches[turn % len(batches)]),
        rounds,
    )
    spent = [ours(batch, thresholds) for batch in batches]
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
    times = time_pairs(lambda _: ours(batch, closed), lambda _: fixed(batch), rounds)
    return {
        "batch_size": batch_size,
        "rounds": rounds,
        "latency_ms": [1e3 * seconds for seconds in times.medians_s],
        "time_ratio": times.ratio,
    }


def measure_all(
    files: dict[str, Path],
    images: np.ndarray,
    thresholds: np.ndarray,
    batch_sizes: list[int],
    rounds: int,
    threads: int,
) -> dict:
    """Both measurements of ``files`` "ours", "static" and "fixed" at each batch size; the larger, the fewer rounds."""
    ours, static, fixed = (OnnxNetwork(files[name], threads) for name in ("ours", "static", "fixed"))
    result: dict = {"efficiency": [], "closed": []}
    for size in batch_sizes:
        pairs = max(5, rounds // size)
        result["efficiency"].append(measure_efficiency(ours, static, images, thresholds, size, pairs))
        result["closed"].append(measure_closed(ours, fixed, images, size, pairs))
    return result
