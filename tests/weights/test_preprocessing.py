"""What images go through, and the names of answers, stay with a network wherever it goes."""

from dataclasses import replace

import pytest
import torch

from drnn import create_model, export_onnx, from_pretrained, load_onnx, optimize, save_pretrained
from drnn.export.program import export_program, load_program
from drnn.inference.captured import CapturedNetwork
from drnn.models import Preprocessing
from drnn.models.preprocessing import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, IMAGENET_STD
from drnn.opening import open_network
from drnn.training import find_recipe, train
from drnn.training.checkpoint import load_run
from drnn.weights import preprocessing_of, usual_preprocessing

OWN = Preprocessing((1, 8, 8), (0.3,), (0.4,))


@pytest.fixture
def opened(tmp_path):
    """A network out of a folder with preprocessing and names of its own."""
    save_pretrained(create_model("dr_resnet_digits", num_classes=7), tmp_path / "first", OWN, classes="ABCDEFG")
    return from_pretrained(tmp_path / "first")


def test_the_usual_preprocessing_is_that_of_the_data_set_of_the_size():
    usual = usual_preprocessing
    assert usual((3, 32, 32)) == Preprocessing((3, 32, 32), CIFAR10_MEAN, CIFAR10_STD)
    assert usual((3, 224, 224)) == Preprocessing((3, 224, 224), IMAGENET_MEAN, IMAGENET_STD)
    assert usual((1, 8, 8)) == Preprocessing((1, 8, 8), (0.0,), (1.0,))
    assert preprocessing_of(create_model("dr_resnet_digits")) == usual((1, 8, 8))
    assert usual((3, 160, 96), "dr_resnet53") == Preprocessing((3, 160, 96), IMAGENET_MEAN, IMAGENET_STD)
    assert usual((3, 64, 64), "resnet20_cifar") == Preprocessing((3, 64, 64), CIFAR10_MEAN, CIFAR10_STD)
    for grey in ((1, 224, 224), (1, 32, 32)):
        assert usual(grey, "dr_resnet53") == Preprocessing(grey, (0.0,), (1.0,))


def test_a_network_at_another_size_keeps_the_preprocessing_of_its_data_set(tmp_path):
    save_pretrained(create_model("resnet20_cifar", input_size=(3, 40, 48)), tmp_path)
    assert from_pretrained(tmp_path).preprocessing == Preprocessing((3, 40, 48), CIFAR10_MEAN, CIFAR10_STD)


@pytest.mark.parametrize("values", [((1, 8), (0,), (1,)), ((1, 8, 8), ("a",), (1,)), ((1, 8, 8), (0,), (torch.nan,))])
def test_preprocessing_that_is_no_numbers_is_refused(values):
    with pytest.raises(ValueError, match=r"received; give \(C, H, W\)"):
        Preprocessing(*values)


def test_a_network_that_was_opened_is_saved_with_what_it_came_with(opened, tmp_path):
    save_pretrained(opened, tmp_path / "second")
    again = from_pretrained(tmp_path / "second")
    assert (again.preprocessing, again.classes) == (OWN, tuple("ABCDEFG"))
    other = Preprocessing((1, 8, 8), (0.1,), (0.2,))
    save_pretrained(opened, tmp_path / "third", other, classes=())
    again = from_pretrained(tmp_path / "third")
    assert (again.preprocessing, again.classes) == (other, ())


def test_another_last_layer_has_lost_the_names(opened, tmp_path):
    opened.fc = torch.nn.Linear(64, 5)
    save_pretrained(opened, tmp_path / "second")
    again = from_pretrained(tmp_path / "second")
    assert (again.preprocessing, again.classes, again.num_classes) == (OWN, (), 5)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11, about its own loader
def test_files_of_an_export_hold_what_the_network_came_with(opened, tmp_path):
    export_onnx(opened, tmp_path / "net.onnx")
    export_program(opened, tmp_path / "net.pt2")
    for file in (load_onnx(tmp_path / "net.onnx"), load_program(tmp_path / "net.pt2")):
        assert (file.preprocessing, file.classes) == (OWN, tuple("ABCDEFG"))


def test_copies_for_inference_keep_them(opened):
    for copy in (optimize(opened), CapturedNetwork(opened)):
        assert (copy.preprocessing, copy.classes) == (OWN, tuple("ABCDEFG"))


def test_a_run_gives_a_network_with_those_of_its_data_set(tmp_path):
    out = tmp_path / "run"
    train(replace(find_recipe("digits"), epochs=1, train_images=64), out, progress=False)
    model, _, dataset = load_run(out)
    assert model.preprocessing == Preprocessing((1, 8, 8), dataset.mean, dataset.std) != usual_preprocessing((1, 8, 8))
    save_pretrained(model, tmp_path / "saved")
    again, source = from_pretrained(tmp_path / "saved"), open_network(str(out))
    assert again.preprocessing == source.preprocessing == model.preprocessing
    assert again.classes == source.classes == tuple(dataset.classes)
