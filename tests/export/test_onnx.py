"""ONNX files: equal to eager, for every batch size and image size, skipping, refused when wrong."""

import json
import logging
import re
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from drnn import create_model, export_onnx, load_onnx, optimize
from drnn.costs import count_costs
from drnn.export import onnx_file, verify
from drnn.export.network import ExportableNetwork, read_thresholds
from drnn.export.onnx_file import to_proto
from drnn.export.program import export_program, load_program
from drnn.models import Preprocessing

from .small import SPEC, assert_equals_eager, small_network

KINDS = [("branches", "once"), ("branches", "folded"), ("loop", "once"), ("dense", "once")]


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """One file of each kind; writing compares it with eager."""
    folder = tmp_path_factory.mktemp("onnx")
    made = {}
    for form, norms in KINDS:
        made[form, norms] = folder / f"{form}-{norms}.onnx"
        result = export_onnx(model, made[form, norms], Preprocessing((3, 8, 8), (0.1,) * 3, (0.2,) * 3), form, norms)
        assert result.images == 4 * (sum(verify.BATCHES) + 2 * verify.OTHERS)
        assert result.difference < 1e-5
    assert {file.name for file in folder.iterdir()} == {path.name for path in made.values()}
    return made


def count_weights(proto, shape):
    return sum(tuple(part.dims) == shape for graph in onnx_file.graphs_in(proto.graph) for part in graph.initializer)


def all_nodes(graph):
    return (node for part in onnx_file.graphs_in(graph) for node in part.node)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (9, 13)], ids=str)
def test_another_image_size_gives_eagers_logits_loops_and_macs(files, model, kind, size):
    x = torch.randn(5, 3, *size, generator=torch.Generator().manual_seed(3)) * torch.linspace(0.2, 3, 5).view(
        -1, 1, 1, 1
    )
    assert_equals_eager(load_onnx(files[kind]), model, x)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
def test_a_last_map_of_one_pixel_does_not_stay_one_in_the_file(tmp_path):
    model = small_network(replace(SPEC, blocks=(1, 1, 2), loops=(1, 1, 2), input_size=(3, 4, 4)))
    onnx_place, program_place = tmp_path / "net.onnx", tmp_path / "net.pt2"
    export_onnx(model, onnx_place, form="dense")
    export_program(model, program_place, form="dense")
    network, program = load_onnx(onnx_place), load_program(program_place)
    for size in ((1, 1), (4, 4), (5, 4), (16, 9), (32, 32)):
        x = torch.randn(2, 3, *size)
        assert_equals_eager(network, model, x)
        assert_equals_eager(lambda images: program.answer(torch.from_numpy(images), program.thresholds), model, x)


def test_the_files_own_thresholds_count_and_can_be_replaced(files, model):
    network, x = load_onnx(files["branches", "once"]), verify.varied_images(32, (3, 8, 8)).numpy()
    own = network(x)
    assert own.loops.tolist() == network(x, read_thresholds(model).numpy()).loops.tolist()
    assert own.loops.tolist() != network(x, np.zeros(1)).loops.tolist()
    assert network(x, np.array([np.inf])).loops.max() == 0
    assert network(x, np.array([-np.inf])).loops.min() == 2


def test_its_threads_rest_between_runs_and_leave_the_cores_to_others(files):
    network, x = load_onnx(files["branches", "once"], threads=4), np.zeros((4, 3, 8, 8), np.float32)
    spent = []
    for _ in range(3):
        network(x)
        before = time.process_time()
        time.sleep(0.03)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.01


def test_counting_multiply_adds_takes_no_more_nodes_the_deeper_the_network():
    def scalars(depth):
        network = ExportableNetwork(small_network(replace(SPEC, blocks=(depth, 2)))).eval()
        return sum(node.op_type in ("Mul", "Add") for node in all_nodes(to_proto(network, any_size=True).graph)) - depth

    assert scalars(1) == scalars(3)  # but for the sum in each residual block


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_onnxruntime_does_not_run_what_the_gates_turn_away(files, kind, tmp_path):
    def convolutions(threshold):
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
        session = onnxruntime.InferenceSession(str(files[kind]), options, providers=["CPUExecutionProvider"])
        images = verify.varied_images(4, (3, 8, 8)).numpy()
        session.run(None, {"images": images, "thresholds": np.array([threshold], np.float32)})
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        return sum(
            event.get("args", {}).get("op_name") in ("Conv", "FusedConv") and "kernel_time" in event["name"]
            for event in events
        )

    assert convolutions(np.inf) + 2 * 2 == convolutions(-np.inf)  # two loops of two convolutions


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


def test_a_network_without_gates_has_no_thresholds(tmp_path):
    export_onnx(create_model("resnet_digits"), tmp_path / "static.onnx", any_size=False)
    network = load_onnx(tmp_path / "static.onnx")
    assert [entry.name for entry in network.session.get_inputs()] == ["images"]
    got = network(np.zeros((3, 1, 8, 8), np.float32))
    assert got.loops.shape == (3, 0)
    assert got.macs.tolist() == [count_costs(create_model("resnet_digits")).max_macs] * 3


def test_recursion_without_gates_and_preactivation_bodies_export(tmp_path):
    for spec in (replace(SPEC, gate=None, target_rate=None), replace(SPEC, body="preact")):
        result = export_onnx(small_network(spec), tmp_path / "net.onnx", form="loop")
        assert result.difference < 1e-5


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
