"""What onnxruntime's quantisers and half precision do to exported files: accuracy, loops, size, time.

python benchmarks/export_quantised.py --data_root DIR

Static quantisation is calibrated on training images, and everything is evaluated on the test images of CIFAR-10.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

import drnn
from drnn.data import Dataset
from drnn.export import OnnxNetwork
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.timing import time_pairs
from drnn.training.checkpoint import load_run

RESULT = Path(__file__).parent / "results" / "export_quantised.json"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
NETWORKS = ("resnet20_cifar-paper", "dr_resnet16_cifar-paper")
CALIBRATED_ON, BATCHES, ROUNDS = 128, (1, 64), 30


class Images(CalibrationDataReader):
    """Training images, one batch after the other, as the quantiser asks for them."""

    def __init__(self, images: torch.Tensor):
        self.batches: Iterator[torch.Tensor] = iter(images.split(32))

    def get_next(self) -> dict:
        """Of the quantiser's interface: inputs by name, none at the end."""
        return next(({"images": batch.numpy()} for batch in self.batches), {})


def half(source: Path, target: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def ways(images: torch.Tensor) -> dict[str, Callable[[Path, Path], object]]:
    """What is done to a file, by its call; ``images`` are those to calibrate on."""

    def static(**options) -> Callable[[Path, Path], object]:
        return lambda source, target: quantize_static(source, target, Images(images), **options)

    return {
        "float32": lambda source, target: target.write_bytes(source.read_bytes()),
        "convert_float_to_float16(model, keep_io_types=True)": half,
        "quantize_dynamic(...)": quantize_dynamic,
        "quantize_static(...)": static(),
        'quantize_static(..., op_types_to_quantize=["Conv"])': static(op_types_to_quantize=["Conv"]),
        'quantize_static(..., op_types_to_quantize=["Conv"], per_channel=True)': static(
            op_types_to_quantize=["Conv"], per_channel=True
        ),
    }


def answers(path: Path, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Classes ``(N,)`` and loops ``(N,)``."""
    network = drnn.load_onnx(path)
    found = [network(batch.numpy()) for batch in images.split(250)]
    return np.concatenate([each.logits.argmax(1) for each in found]), np.concatenate(
        [each.loops.sum(1) for each in found]
    )


def time_ratio(path: Path, against: Path, images: torch.Tensor, batch: int) -> float:
    """Of a file's time to that of another, over pairs of the same batches."""
    batches = [part.numpy() for part in images[: batch * ROUNDS].split(batch)]

    def work(network: OnnxNetwork) -> Callable[[int], object]:
        return lambda number: network(batches[number % ROUNDS])

    first, second = (drnn.load_onnx(place, torch.get_num_threads()) for place in (path, against))
    return time_pairs(work(first), work(second), ROUNDS, device="cpu").ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    options = parser.parse_args()
    result: dict = {
        "environment": environment("cpu"), "seed": 0, "onnxruntime": onnxruntime.__version__,
        "calibrated_on": CALIBRATED_ON, "rows": [],
    }  # fmt: skip
    for name in NETWORKS:
        run = load_run(SHIPPED / name, options.data_root)
        data = run.dataset
        assert isinstance(data, Dataset)
        images, labels = run.normalize(data.test_images), data.test_labels.numpy()
        with TemporaryDirectory() as place:
            source, target = Path(place) / "net.onnx", Path(place) / "other.onnx"
            drnn.export_onnx(run.model, source)
            plain = answers(source, images)
            for way, make in ways(run.normalize(data.train_images[:CALIBRATED_ON])).items():
                make(source, target)
                classes, loops = answers(target, images)
                row = {
                    "network": name,
                    "way": way,
                    "acc1": float((classes == labels).mean()),
                    "mean_loops": float(loops.mean()),
                    "other_answers": float((classes != plain[0]).mean()),
                    "other_loops": float((loops != plain[1]).mean()),
                    "bytes": target.stat().st_size,
                    "images": len(labels),
                    "time_ratio": {str(batch): time_ratio(target, source, images, batch) for batch in BATCHES},
                }
                result["rows"].append(row)
                print(row, flush=True)
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
