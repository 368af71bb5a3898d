"""The runner of exported files: what it takes, and what it says about the rest."""

import numpy as np
import onnx
import pytest
import torch

from drnn import create_model, export_onnx, load_onnx
from drnn.export.facts import ONNX_FACTS
from drnn.export.program import export_program, load_program


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("runner") / "net.onnx"
    export_onnx(model, path, form="dense")
    return path


@pytest.fixture(scope="module")
def network(file):
    return load_onnx(file)


pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
IMAGES = np.zeros((2, 3, 8, 8), np.float32)


def test_floats_of_any_width_any_size_and_no_images_at_all_are_taken(network):
    assert network(IMAGES[:0]).logits.shape == (0, 10)
    assert network(np.zeros((2, 3, 9, 11))).loops.shape == (2, 1)
    turned = np.moveaxis(np.random.default_rng(0).random((2, 8, 8, 3), np.float32), 3, 1)
    np.testing.assert_array_equal(network(turned).logits, network(np.ascontiguousarray(turned)).logits)


@pytest.fixture(scope="module")
def program(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("runner") / "net.pt2"
    export_program(model, path, form="dense")
    return load_program(path)


@pytest.mark.parametrize(
    "images",
    [
        *(IMAGES.astype(kind) for kind in (np.uint8, bool, complex)),
        IMAGES[0], IMAGES[:, :1], np.moveaxis(IMAGES, 1, 3), np.float32(0), IMAGES[:, :, :0], IMAGES[..., :0],
    ],
    ids=["uint8", "bool", "complex", "one image", "one channel", "channels last", "a number", "no rows", "no columns"],
)  # fmt: skip
def test_other_images_are_refused(network, program, images):
    message = r"received; give floats \(N, 3, H, W\), normalised as the file's preprocessing says"
    with pytest.raises(ValueError, match=message):
        network(images)
    with pytest.raises(ValueError, match=message):
        program(torch.from_numpy(np.asarray(images)))


def test_a_program_takes_floats_of_any_width_and_says_what_else_it_needs(program):
    x = torch.rand(2, 3, 3, 5)
    torch.testing.assert_close(program(x.double())[0], program(x)[0])
    with pytest.raises(TypeError, match="images as ndarray received; give a tensor"):
        program(IMAGES)
    with pytest.raises(ValueError, match=r"thresholds of shape \(2,\) received; the file has 1"):
        program(x, torch.zeros(2))


def test_a_program_of_one_size_says_so(tmp_path):
    export_program(create_model("resnet_digits"), tmp_path / "net.pt2", form="dense", any_size=False)
    with pytest.raises(ValueError, match=r"give floats \(N, 1, 8, 8\)"):
        load_program(tmp_path / "net.pt2")(torch.zeros(1, 1, 9, 8))


@pytest.mark.parametrize("write", [export_onnx, export_program])
@pytest.mark.parametrize("other", [torch.nn.Linear(1, 1), "resnet_digits"], ids=["module", "name"])
def test_only_networks_of_this_library_are_exported(write, other, tmp_path):
    with pytest.raises(TypeError, match=r"received; export takes networks of drnn\.models"):
        write(other, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_thresholds_are_one_a_block(network, tmp_path):
    with pytest.raises(ValueError, match=r"thresholds of shape \(2,\) received; the file has 1"):
        network(IMAGES, np.zeros(2))
    export_onnx(create_model("resnet_digits"), tmp_path / "static.onnx", form="dense", any_size=False)
    static = load_onnx(tmp_path / "static.onnx")
    with pytest.raises(ValueError, match="the file has 0"):
        static(np.zeros((1, 1, 8, 8), np.float32), np.zeros(0))
    with pytest.raises(ValueError, match=r"give floats \(N, 1, 8, 8\)"):
        static(np.zeros((1, 1, 9, 8), np.float32))


def test_thresholds_that_are_no_numbers_are_refused(network, program):
    with pytest.raises(ValueError, match="threshold nan received; give a number"):
        network(IMAGES, np.full(1, np.nan))
    with pytest.raises(ValueError, match="threshold nan received; give a number"):
        program(torch.from_numpy(IMAGES), torch.full((1,), torch.nan))
    assert network(IMAGES, np.full(1, np.inf)).loops.tolist() == [[0], [0]]


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)],
    ids=["one channel", "floats", "one image"],
)
def test_prepare_takes_bytes_with_channels_last(network, pixels):
    with pytest.raises(ValueError, match=r"received; give uint8 \(N, H, W, 3\)"):
        network.prepare(pixels)
    assert network.prepare(np.zeros((1, 8, 8, 3), np.uint8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(("key", "value"), [("size", "null"), ("std", "[0]"), ("mean", "no"), ("num_loops", "3")])
def test_damaged_metadata_is_named(file, tmp_path, key, value):
    proto = onnx.load(file)
    for entry in proto.metadata_props:
        if entry.key == key:
            entry.value = value
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net\.onnx lacks metadata that drnn export writes"):
        load_onnx(tmp_path / "net.onnx")


def test_a_file_that_another_tool_has_added_to_still_opens(file, network, tmp_path):
    assert {entry.key for entry in onnx.load(file).metadata_props} == set(ONNX_FACTS) == network.facts.keys()
    proto = onnx.load(file)
    proto.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # as onnxruntime's quantization does
    onnx.save(proto, tmp_path / "net.onnx")
    opened = load_onnx(tmp_path / "net.onnx")
    assert opened.facts == network.facts
    assert opened(IMAGES).logits.shape == (2, 10)
