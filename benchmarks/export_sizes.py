"""How large the files of networks and their counterparts are: ``python benchmarks/export_sizes.py``.

Written when all are exported, which takes minutes.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from safetensors.torch import save_file

from drnn import create_model
from drnn.export import ExportableNetwork
from drnn.export.onnx_file import to_proto
from drnn.provenance import environment
from drnn.storage import write_json

RESULT = Path(__file__).parent / "results" / "export_sizes.json"
NETWORKS = (
    ("resnet20_cifar", "dr_resnet16_cifar"),
    ("resnet101", "dr_resnet53"),
    ("mobilenetv2", "dr_mobilenetv2"),
    ("resnet50", "dr_resnet35"),
)
KINDS = (("branches", "once"), ("branches", "folded"), ("loop", "once"))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()  # takes nothing, and says so
    result: dict = {"environment": environment("cpu"), "seed": 0, "onnxruntime": onnxruntime.__version__, "files": []}
    for name in (name for pair in NETWORKS for name in pair):
        torch.manual_seed(0)
        model = create_model(name)
        row: dict = {"name": name, "safetensors": _weights_bytes(model)}
        for form, norms in KINDS if model.target_rate is not None else KINDS[:1]:
            row[f"{form}, {norms}"] = to_proto(ExportableNetwork(model, form, norms), True).ByteSize()
            print(row, flush=True)
        result["files"].append(row)
    write_json(RESULT, result)


def _weights_bytes(model: torch.nn.Module) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(model.state_dict(), path)
        return path.stat().st_size


if __name__ == "__main__":
    main()
