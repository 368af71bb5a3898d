"""``drnn export SOURCE FILE``."""

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from drnn.opening import open_network
from drnn.storage import refuse_place


def run(argv: list[str]) -> None:
    """Write a network as a file for another runtime."""
    parser = ArgumentParser(
        prog="drnn export",
        description="Write a network as a file that skips what its gates turn away, for every batch size: FILE.onnx "
        "for onnxruntime, FILE.pt2 for torch.export. The file is compared with the network before it is written, with "
        "closed, mixed and open gates, and refused when it differs.",
    )
    parser.add_argument("source", type=str, help="a run folder, a folder of weights, or a name of drnn models")
    parser.add_argument("file", type=str, help="ends with .onnx or .pt2")
    parser.add_argument(
        "--form", type=Literal["branches", "single", "loop", "dense"], default="branches",
        help="branches: a condition a loop; single: the same for one image at a time, faster there; loop: one copy of "
        "a body; dense: no control flow, skips nothing",
    )  # fmt: skip
    parser.add_argument(
        "--norms", type=Literal["once", "folded"], default="once",
        help="once: shared weights are in the file once; folded: one folded weight a loop",
    )  # fmt: skip
    parser.add_argument("--fixed_size", action="store_true", help="take images of the network's own size only")
    parser.add_argument("--data_root", type=str, default=None, help="where the run's data set is now, if it has moved")
    parser.add_argument("--budget", action="store_true", help="with the thresholds of budget.json: see drnn calibrate")
    parser.add_argument("--aot", action="store_true", help="experimental: compile FILE.pt2 for this machine")
    options = parser.parse_args(argv)
    file, how = Path(options.file), (options.form, options.norms, not options.fixed_size)
    if file.suffix not in ([".pt2"] if options.aot else [".onnx", ".pt2"]):
        raise ValueError(f"{file} received; a file ends with .onnx or .pt2, and --aot makes .pt2")
    refuse_place(file)
    model, preprocessing, _, trained = open_network(options.source, options.data_root, options.budget)
    if file.suffix == ".onnx":
        from drnn.export.onnx_file import export_onnx

        result = export_onnx(model, file, preprocessing, *how)
    else:
        from drnn.export.program import export_program

        result = export_program(model, file, preprocessing, *how, compiled=options.aot)
    print(
        f"{file}: {model.name}, {'trained' if trained else 'fresh'} weights, {file.stat().st_size / 1e6:.2f} MB; "
        f"equal on {result.images} images, logits within {result.difference:.1e}"
    )
