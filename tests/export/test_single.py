"""Files for one image at a time: the same answers, nothing taken out and put back."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from drnn import create_model, export_onnx, load_onnx
from drnn.bench.exported import ExportCase
from drnn.export import onnx_file, verify
from drnn.export.program import export_program, load_program

from .small import assert_equals_eager


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("single") / "net.onnx"
    result = export_onnx(model, path, form="single")
    assert result.images == 4 * (sum(verify.BATCHES) + 2 * verify.OTHERS)
    assert result.difference < 1e-5
    return path


@pytest.mark.parametrize("size", [(8, 8), (9, 13)], ids=str)
def test_every_image_gets_eagers_answer(file, model, size):
    network, taken = load_onnx(file), set()
    images = torch.randn(12, 3, *size, generator=torch.Generator().manual_seed(3))
    for x in (images * torch.linspace(0.2, 3, 12)[:, None, None, None]).split(1):
        taken.add(int(assert_equals_eager(network, model, x).sum()))
    assert len(taken) > 1


def test_nothing_is_taken_out_or_put_back(file, model, tmp_path):
    def operators(path):
        graphs = onnx_file.graphs_in(onnx.load(path).graph)
        return Counter(node.op_type for graph in graphs for node in graph.node)

    export_onnx(model, tmp_path / "any.onnx")
    moving = {"NonZero", "ScatterND", "ScatterElements"}
    assert operators(tmp_path / "any.onnx").keys() & moving
    assert not operators(file).keys() & moving
    assert operators(file)["If"] == operators(tmp_path / "any.onnx")["If"]


def test_several_images_are_refused_with_what_to_do(file):
    network = load_onnx(file)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 8, 8\) received; .* export with --form branches"):
        network(np.zeros((2, 3, 8, 8), np.float32))


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
def test_static_networks_and_programs_too(model, tmp_path):
    export_onnx(create_model("resnet_digits"), tmp_path / "static.onnx", form="single")
    assert load_onnx(tmp_path / "static.onnx")(np.zeros((1, 1, 8, 8), np.float32)).logits.shape == (1, 10)
    export_program(model, tmp_path / "net.pt2", form="single")
    x = torch.randn(1, 3, 8, 8)
    program = load_program(tmp_path / "net.pt2")
    torch.testing.assert_close(program(x)[0], model(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="takes one at a time"):
        program(torch.randn(2, 3, 8, 8))


def test_timing_it_on_several_images_is_refused():
    with pytest.raises(ValueError, match="takes one image at a time"):
        ExportCase("dr_resnet53", "resnet101", 11.7, (1, 8), 2, 1, "single")
