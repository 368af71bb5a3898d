"""ONNX files answer as eager does, for every batch size and image size, and skip what their gates turn away."""

import json
import time
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from drnn import create_model, export_onnx, load_onnx
from drnn.core import OpenGate, RecursiveBlock
from drnn.costs import count_costs
from drnn.export import OnnxNetwork, verify
from drnn.export.network import looping_blocks, read_thresholds
from drnn.export.program import export_program, load_program

from .small import KINDS, SPEC, assert_equals_eager, small_network


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
    assert [entry.name for entry in network.session.get_overridable_initializers()] == ["thresholds"]
    assert own.loops.tolist() == network(x, read_thresholds(model).numpy()).loops.tolist()
    assert own.loops.tolist() != network(x, np.zeros(1)).loops.tolist()
    assert network(x, np.array([np.inf])).loops.max() == 0
    assert network(x, np.array([-np.inf])).loops.min() == 2


def test_one_of_two_blocks_may_be_without_a_gate(tmp_path):
    model = small_network(replace(SPEC, blocks=(1, 3), loops=(1, 2)))
    open_block, asks = looping_blocks(model)
    open_block.gate = OpenGate()
    open_block.set_dense(False)
    x = verify.varied_images(32, (3, 8, 8))
    between = verify.mixed_thresholds(model, x)
    asks.gate.threshold.copy_(between[1])
    export_onnx(model, tmp_path / "net.onnx")
    loops = assert_equals_eager(load_onnx(tmp_path / "net.onnx"), model, x)
    assert set(loops[:, 0]) == {2}
    assert len(set(loops[:, 1])) > 1
    assert read_thresholds(model).tolist() == between.tolist()
    assert between[0] == 0 != between[1]


def test_weights_of_another_default_are_exported_in_their_own(tmp_path):
    model = small_network()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        export_onnx(model, tmp_path / "net.onnx", form="dense", any_size=False)
    finally:
        torch.set_default_dtype(before)
    assert_equals_eager(load_onnx(tmp_path / "net.onnx"), model, torch.randn(3, 3, 8, 8))


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "CudaProvider"])
def test_a_provider_that_is_not_here_is_told(files, provider):
    """onnxruntime takes the CPU then, and times would be taken for another device's."""
    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"{provider} is here")
    with pytest.raises(ValueError, match=rf"provider {provider} received, .* has .*CPUExecutionProvider"):
        OnnxNetwork(files["branches", "once"], providers=(provider,))


def test_its_threads_rest_between_runs_and_leave_the_cores_to_others(files):
    network, x = load_onnx(files["branches", "once"], threads=4), np.zeros((4, 3, 8, 8), np.float32)
    spent = []
    for _ in range(3):
        network(x)
        before = time.process_time()
        time.sleep(0.03)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.01


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


def test_a_network_without_gates_has_no_thresholds(tmp_path):
    export_onnx(create_model("resnet_digits"), tmp_path / "static.onnx", any_size=False)
    network = load_onnx(tmp_path / "static.onnx")
    assert [entry.name for entry in network.session.get_inputs()] == ["images"]
    assert network.session.get_overridable_initializers() == []
    got = network(np.zeros((3, 1, 8, 8), np.float32))
    assert got.loops.shape == (3, 0)
    assert got.macs.tolist() == [count_costs(create_model("resnet_digits")).max_macs] * 3


def test_recursion_without_gates_and_preactivation_bodies_export(tmp_path):
    for spec in (replace(SPEC, gate=None, target_rate=None), replace(SPEC, body="preact")):
        result = export_onnx(small_network(spec), tmp_path / "net.onnx", form="loop")
        assert result.difference < 1e-5


@pytest.mark.parametrize("norms", ["once", "folded"])
def test_convolutions_with_a_bias_keep_it(tmp_path, norms):
    model = small_network()
    body = next(block for block in model.modules() if isinstance(block, RecursiveBlock)).body
    own = body.conv1
    body.conv1 = torch.nn.Conv2d(own.in_channels, own.out_channels, own.kernel_size, own.stride, own.padding)
    assert export_onnx(model, tmp_path / "net.onnx", norms=norms).difference < 1e-4
