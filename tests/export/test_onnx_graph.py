"""What an ONNX graph holds: weights once and where they are used, and few nodes for counting."""

from collections import Counter
from dataclasses import replace

import onnx
import pytest

from drnn.export import onnx_file
from drnn.export.network import ExportableNetwork
from drnn.export.onnx_file import to_proto

from .small import KINDS, SPEC, small_network


def count_weights(proto, shape):
    return sum(tuple(part.dims) == shape for graph in onnx_file.graphs_in(proto.graph) for part in graph.initializer)


def all_nodes(graph):
    return (node for part in onnx_file.graphs_in(graph) for node in part.node)


def test_counting_multiply_adds_takes_no_more_nodes_the_deeper_the_network():
    def scalars(depth):
        network = ExportableNetwork(small_network(replace(SPEC, blocks=(depth, 2)))).eval()
        return sum(node.op_type in ("Mul", "Add") for node in all_nodes(to_proto(network, any_size=True).graph)) - depth

    assert scalars(1) == scalars(3)  # but for the sum in each residual block


def test_shared_weights_are_stored_once_unless_folded(files):
    def copies(kind):
        return count_weights(onnx.load(files[kind]), (16, 16, 3, 3))

    first_block = 1  # its second convolution has the same shape
    assert copies(("branches", "folded")) == first_block + 2 * 2
    assert copies(("loop", "once")) == first_block + 2
    operators = {
        kind: Counter(node.op_type for node in all_nodes(onnx.load(file).graph)) for kind, file in files.items()
    }
    assert operators["branches", "once"]["If"] == 2
    assert operators["loop", "once"]["Loop"] == 1
    assert operators["dense", "once"].keys() & {"If", "Loop", "NonZero"} == set()


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_weights_lie_in_the_branch_that_alone_uses_them(files, kind):
    """There onnxruntime lays convolutions out for its fastest kernels; weights from outside keep it from that."""
    convolutions = [
        (graph, node.input[1])
        for graph in onnx_file.graphs_in(onnx.load(files[kind]).graph)
        for node in graph.node
        if node.op_type == "Conv"
    ]
    assert len({graph.name for graph, _ in convolutions}) > 1
    for graph, weight in convolutions:
        made_here = {name for node in graph.node for name in node.output}  # a product with the loop's scale
        assert weight in made_here | {part.name for part in graph.initializer}


def test_large_shared_weights_are_not_multiplied_out_in_the_file():
    spec = replace(SPEC, width=32)  # 64 x 64 x 3 x 3: more than the exporter folds by itself
    proto = to_proto(ExportableNetwork(small_network(spec)), any_size=False)
    assert count_weights(proto, (64, 64, 3, 3)) == 1 + 2
