"""From a network to a checked ONNX file that skips, for every batch size."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from drnn.export.facts import INPUT, OUTPUTS, THRESHOLDS, facts_of, prepared
from drnn.export.files import written_whole
from drnn.export.network import ExportableNetwork
from drnn.export.quiet import quiet_loggers
from drnn.export.runner import OnnxNetwork
from drnn.export.trace import trace
from drnn.export.verify import Verified, verify
from drnn.models import Classifier, Preprocessing

if TYPE_CHECKING:
    import onnx

PROTOBUF_LIMIT = 2**31 - 2**24  # bytes; weights beyond it go beside the file, which leaves 16 MB for the graph


def export_onnx(
    model: Classifier,
    path: str | Path,
    preprocessing: Preprocessing | None = None,
    form: str = "branches",
    norms: str = "once",
    any_size: bool = True,
    external_over: int = PROTOBUF_LIMIT,
) -> Verified:
    """Write ``model`` as an ONNX file that computes what the gates ask for and no more, compared before it is written.

    Inputs are ``images`` (N, C, H, W), any N (but 1 in the form "single"), and ``thresholds`` (B,), which may be left
    out: the file holds those the model has now. Outputs are ``logits`` (N, K), ``loops`` (N, B) and ``macs`` (N,), for
    B recursive blocks.

    Args:
        model: any network but ConvNet-AIG.
        path: the file to write.
        preprocessing: kept in the file; the model's own by default, or the usual one of its name and size.
        form: "branches" (for any batch), "single" (for batches of one image, faster there), "loop" (smallest graph) or
            "dense" (no control flow; skips nothing).
        norms: "once": shared convolution weights are in the file once, and onnxruntime folds the norms when it
            loads; "folded": one folded weight per loop.
        any_size: take any H and W, not only the model's own.
        external_over: bytes above which the weights go to a file beside it, ``<name>.data``.

    Returns:
        How near the file is to the model.

    Raises:
        TypeError: not a `Classifier`.
        ValueError: a network or option that cannot be exported, preprocessing for images of another kind, a folder in
            place of a file, or a file that does not equal the model.
        ModuleNotFoundError: the extra ``export`` is not installed.
    """
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    network, preprocessing = prepared(model, preprocessing, form, norms, any_size)
    path = Path(path)
    with written_whole(path) as made:
        proto = to_proto(network, any_size)
        describe(proto, facts_of(network, preprocessing))
        _save(proto, made, external_over)
        result = verify(model, OnnxNetwork(made).answer, network.one_image, any_size)
        outside = made.with_name(f"{made.name}.data").exists()
    beside = path.with_name(f"{path.name}.data")
    if beside.is_file() and not outside:
        beside.unlink()  # of the file that was here before
    return result


def to_proto(network: ExportableNetwork, any_size: bool) -> "onnx.ModelProto":
    """The network as an ONNX graph, without traces of where it was made."""
    import onnx

    program = trace(network, any_size)
    with _quiet_exporter():
        names = [INPUT, THRESHOLDS] if len(network.thresholds) else [INPUT]
        made = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=names, output_names=list(OUTPUTS), external_data=False
        )
    assert made is not None
    proto = made.model_proto
    for graph in graphs_in(proto.graph):
        for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    _name_sizes(proto.graph)
    _move_inside(proto.graph)
    if len(network.thresholds):
        values = onnx.numpy_helper.from_array(network.thresholds.numpy(), THRESHOLDS)
        proto.graph.initializer.append(values)  # an input with a value is an input that may be left out
    return proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without its deprecations, its remarks on its own rules, and what it prints."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), quiet_loggers("onnx_ir", "onnxscript"):
        warnings.simplefilter("ignore")
        yield


def describe(proto: "onnx.ModelProto", facts: dict) -> None:
    """Metadata: each value is JSON. What the file is, and of which drnn, comes first."""
    import onnx

    own = version("drnn")
    facts = {"model": facts["model"], "version": own, **facts}
    proto.producer_name, proto.producer_version = "drnn", own
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})


def graphs_in(graph: "onnx.GraphProto") -> Iterator["onnx.GraphProto"]:
    """A graph and those of its branches, of theirs, and so on."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_in(attribute.g)


def _move_inside(graph: "onnx.GraphProto") -> None:
    """Move each constant that one branch alone uses into that branch: onnxruntime lays out only what lies there."""
    branches = [part.g for node in graph.node for part in node.attribute if part.HasField("g")]
    inside = [_names_in(branch) for branch in branches]
    here = _names_of(graph)
    kept = []
    for part in graph.initializer:
        users = [branch for branch, names in zip(branches, inside, strict=True) if part.name in names]
        if len(users) == 1 and part.name not in here:
            users[0].initializer.append(part)
        else:
            kept.append(part)
    if len(kept) < len(graph.initializer):
        graph.ClearField("initializer")
        graph.initializer.extend(kept)
    for branch in branches:
        _move_inside(branch)


def _names_in(graph: "onnx.GraphProto") -> set[str]:
    """What the nodes and outputs of a graph and of those in it name."""
    return set().union(*map(_names_of, graphs_in(graph)))


def _names_of(graph: "onnx.GraphProto") -> set[str]:
    """What the nodes and outputs of a graph name, without those in it."""
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}


def _name_sizes(graph: "onnx.GraphProto") -> None:
    """Call the free sizes of the images what they are, wherever they appear."""
    axes = zip(graph.input[0].type.tensor_type.shape.dim, ("batch", "channels", "height", "width"), strict=True)
    names = {axis.dim_param: name for axis, name in axes if axis.dim_param}
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = names.get(axis.dim_param, axis.dim_param)
    for inner in graphs_in(graph):
        inner.ClearField("value_info")  # shapes of the inside: onnxruntime infers its own


def _save(proto: "onnx.ModelProto", path: Path, external_over: int) -> None:
    import onnx

    weights = sum(len(part.raw_data) for graph in graphs_in(proto.graph) for part in graph.initializer)
    if weights > external_over:  # not proto.ByteSize(), which fails beyond the very limit
        onnx.save_model(proto, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)
    else:
        onnx.save_model(proto, path)
    onnx.checker.check_model(str(path), full_check=True)
