"""Writing and reading ONNX files: what they say, where they lie, and what is refused."""

import logging
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from drnn import create_model, export_onnx, load_onnx, optimize
from drnn.costs import register
from drnn.export import onnx_file
from drnn.export.program import export_program
from drnn.models import Preprocessing

from .small import SPEC, small_network


def test_the_file_says_what_it_is_and_not_where_it_was_made(files):
    network = load_onnx(files["loop", "once"])
    assert network.preprocessing == Preprocessing((3, 8, 8), (0.1,) * 3, (0.2,) * 3)
    assert (network.facts["model"], network.facts["form"], network.facts["num_loops"]) == ("small", "loop", [2])
    proto = onnx.load(files["branches", "once"])
    assert [axis.dim_param for axis in proto.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        "",
        "height",
        "width",
    ]
    assert proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert b"site-packages" not in proto.SerializeToString()
    assert next(entry.version for entry in proto.opset_import if entry.domain == "") >= 18
    pixels = np.full((1, 8, 8, 3), 51, np.uint8)
    np.testing.assert_allclose(network.prepare(pixels), np.full((1, 3, 8, 8), 0.5), rtol=1e-5)


def test_a_wrong_file_is_not_written(monkeypatch, tmp_path):
    right = onnx_file.to_proto

    def wrong(network, any_size):
        proto = right(network, any_size)
        (bias,) = (part for part in proto.graph.initializer if part.name.endswith("fc.bias"))
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
        return proto

    monkeypatch.setattr(onnx_file, "to_proto", wrong)
    with pytest.raises(ValueError, match=r"own gates, batch 1 of 3x8x8: 1 images differ from small.*nothing was"):
        export_onnx(small_network(), tmp_path / "wrong.onnx", form="dense")
    assert list(tmp_path.iterdir()) == []


def test_the_exporter_says_nothing_of_its_own(tmp_path, capsys, caplog):
    level = logging.getLogger("onnx_ir").level
    export_onnx(small_network(), tmp_path / "net.onnx")
    assert capsys.readouterr() == ("", "")
    assert [entry.name for entry in caplog.records if entry.name.startswith("onnx")] == []
    assert logging.getLogger("onnx_ir").level == level


def test_large_weights_go_beside_the_file(tmp_path):
    model = create_model("resnet_digits")
    export_onnx(model, tmp_path / "net.onnx", external_over=10_000)
    assert {file.name for file in tmp_path.iterdir()} == {"net.onnx", "net.onnx.data"}
    assert (tmp_path / "net.onnx").stat().st_size < 100_000 < (tmp_path / "net.onnx.data").stat().st_size
    x = torch.randn(2, 1, 8, 8)
    got = torch.from_numpy(load_onnx(tmp_path / "net.onnx")(x.numpy()).logits)
    torch.testing.assert_close(got, model.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "while"}, "form 'while' .* forms are branches, single, loop, dense"),
        ({"form": "loop", "norms": "folded"}, "one copy of each body"),
    ],
)
def test_what_cannot_be_exported_is_named(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_onnx(small_network(), tmp_path / "net.onnx", **change)


@pytest.mark.parametrize("write", [export_onnx, export_program])
def test_what_does_not_fit_is_refused_before_the_work_begins(tmp_path, write, monkeypatch):
    model, place = small_network(), tmp_path / "net.onnx"
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("")
    monkeypatch.delattr(torch.export, "export")  # the work

    def refused(message, model=model, place=place, **options):
        with pytest.raises((ValueError, OSError), match=message):
            write(model, place, **options)

    refused("is a folder; give the name of a file", place=tmp_path / "folder")
    refused("text", place=tmp_path / "text" / "net.onnx")
    refused("holds torch.float16; files hold float32", model=small_network().half())
    refused("an optimised small received; export the network it was made of", model=optimize(model))
    refused(
        r"for images of \(1, 8, 8\) received; small takes \(3, 8, 8\)", preprocessing=Preprocessing((1, 8, 8), [0], [1])
    )
    other = Preprocessing((3, 9, 8), (0.0,) * 3, (1.0,) * 3)
    refused(r"for images of \(3, 9, 8\) received", preprocessing=other, any_size=False)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["folder", "text"]


def test_weights_beside_an_older_file_go_with_it(tmp_path):
    model, place = create_model("resnet_digits"), tmp_path / "net.onnx"
    export_onnx(model, place, external_over=10_000)
    export_onnx(model, place)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_a_folder_where_the_weights_go_is_found_before_anything_is_replaced(tmp_path):
    model, place, folder = create_model("resnet_digits"), tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    folder.mkdir()
    place.write_text("older")
    with pytest.raises(ValueError, match=r"net\.onnx\.data is a folder; give the name of a file in it, or move"):
        export_onnx(model, place, external_over=10_000)
    assert place.read_text() == "older"
    export_onnx(model, place)
    assert load_onnx(place).num_blocks == 0
    assert sorted(tmp_path.iterdir()) == [place, folder]


class Shift(torch.nn.Module):
    def forward(self, x):
        return x + 1


def test_layers_that_files_cannot_count_are_refused_before_the_work_begins(tmp_path):
    """The comparison would stop it, over multiply-adds that differ, and not say why."""
    model = small_network()
    model.layer1.append(Shift())
    register(Shift, lambda layer, inputs, output: output.numel())
    with pytest.raises(ValueError, match=r"layer1\.\d is of a class that drnn\.costs\.register was told of"):
        export_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
    register(Shift, lambda *_: 0)
    export_onnx(model, tmp_path / "net.onnx", form="dense")


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated", "ignore:.*quantized tensor creation")
def test_a_quantised_network_is_refused_by_the_name_of_its_layer(tmp_path):
    pytest.importorskip("torch.ao.quantization", reason="torch means to remove it")
    quantised = torch.ao.quantization.quantize_dynamic(small_network(), {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match=r"fc1 \(Linear\) is quantised; export the network .*, and quantise the file"):
        export_onnx(quantised, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_noise_in_evaluation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="noise in evaluation"):
        export_onnx(create_model("aig_resnet110_cifar"), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="noise in evaluation"):
        export_onnx(small_network(replace(SPEC, gate_noise="always")), tmp_path / "net.onnx")


def test_files_that_are_none_of_ours_are_named(tmp_path):
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(FileNotFoundError, match="drnn export makes one"):
        load_onnx(tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match=re.escape("text.onnx is damaged")):
        load_onnx(tmp_path / "text.onnx")
