"""What skipping saves in onnxruntime, and how large the files are.

python benchmarks/export.py make       export what is measured to a folder
python benchmarks/export.py measure    time it, in pairs
python benchmarks/export.py sizes      file sizes of networks and their counterparts
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file

from drnn import create_model
from drnn.export import ExportableNetwork, export_onnx
from drnn.export.measure import SEED, divided_network, fixed_part, measure_all, thresholds_for
from drnn.export.onnx_file import to_proto
from drnn.export.verify import set_thresholds, varied_images
from drnn.provenance import environment
from drnn.storage import write_json

RESULTS = Path(__file__).parent / "results"
OURS, STATIC, MEAN_LOOPS = "dr_resnet53", "resnet101", 11.74
NETWORKS = (
    ("resnet20_cifar", "dr_resnet16_cifar"),
    ("resnet101", "dr_resnet53"),
    ("mobilenetv2", "dr_mobilenetv2"),
    ("resnet50", "dr_resnet35"),
)
KINDS = (("branches", "once"), ("branches", "folded"), ("loop", "once"))


def make(folder: Path) -> None:
    model = divided_network(OURS)
    images = varied_images(16, model.input_size)
    set_thresholds(model, thresholds_for(model, images, MEAN_LOOPS))
    print("ours", export_onnx(model, folder / "ours.onnx"))
    print("fixed", export_onnx(fixed_part(model), folder / "fixed.onnx"))
    torch.manual_seed(SEED)
    print("static", export_onnx(create_model(STATIC), folder / "static.onnx"))


def measure(folder: Path, rounds: int, threads: int) -> dict:
    import onnx

    files = {name: folder / f"{name}.onnx" for name in ("ours", "static", "fixed")}
    held = {part.name: part for part in onnx.load(files["ours"]).graph.initializer}
    thresholds = onnx.numpy_helper.to_array(held["thresholds"])
    images = varied_images(16, (3, 224, 224)).numpy()
    return {
        "environment": environment(),
        "seed": SEED,
        "onnxruntime": onnxruntime.__version__,
        "networks": [OURS, STATIC],
        "session_threads": threads,
        "thresholds": np.round(thresholds, 6).tolist(),
        **measure_all(files, images, thresholds, [1, 8], rounds, threads),
    }


def sizes() -> None:
    """Written after every file: exporting all of them takes minutes."""
    result: dict = {"environment": environment(), "seed": SEED, "onnxruntime": onnxruntime.__version__, "files": []}
    for name in (name for pair in NETWORKS for name in pair):
        model = create_model(name)
        row: dict = {"name": name, "safetensors": _weights_bytes(model)}
        for form, norms in KINDS if model.target_rate is not None else KINDS[:1]:
            row[f"{form}, {norms}"] = to_proto(ExportableNetwork(model, form, norms), True).ByteSize()
            print(row, flush=True)
            write_json(RESULTS / "export_sizes.json", {**result, "files": [*result["files"], row]})
        result["files"].append(row)


def _weights_bytes(model: torch.nn.Module) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(model.state_dict(), path)
        return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "measure", "sizes"])
    parser.add_argument("--folder", type=Path, default=Path("runs/export"), help="where the exported files are")
    parser.add_argument("--rounds", type=int, default=40, help="pairs at batch 1")
    parser.add_argument("--threads", type=int, default=2, help="of onnxruntime")
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder)
    elif options.what == "measure":
        result = measure(options.folder, options.rounds, options.threads)
        write_json(RESULTS / "export.json", result)
        for part in result["efficiency"] + result["closed"]:
            print(part)
    else:
        sizes()


if __name__ == "__main__":
    main()
