"""Folders of weights: whole round trips without a network."""

import pytest
import torch

from drnn import create_model, from_pretrained, list_models, save_pretrained
from drnn.core import Gate
from drnn.models import Preprocessing, set_dense
from drnn.weights import Card

from .images import ramp


def thresholds(model):
    return [float(module.threshold) for module in model.modules() if isinstance(module, Gate)]


def test_a_saved_network_comes_back_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = create_model("dr_resnet_digits", num_classes=7, target_rate=0.4).eval()
    gates = [module for module in model.modules() if isinstance(module, Gate)]
    gates[0].threshold.fill_(0.5)
    gates[1].threshold.fill_(torch.inf)
    preprocessing = Preprocessing((1, 8, 8), (0.3,), (0.4,))
    with pytest.raises(ValueError, match="2 names of classes received for a network of 7"):
        save_pretrained(model, tmp_path / "net", preprocessing, classes=("yes", "no"))
    assert not (tmp_path / "net").exists()
    save_pretrained(model, tmp_path / "net", preprocessing, classes="ABCDEFG")
    again = from_pretrained(tmp_path / "net")
    assert again.classes == tuple("ABCDEFG")
    assert again.preprocessing == preprocessing
    assert (again.name, again.num_classes, again.target_rate) == ("dr_resnet_digits", 7, 0.4)
    assert again.state_dict().keys() == model.state_dict().keys()
    x = ramp((1, 8, 8))
    assert torch.equal(again(x), model(x))
    assert thresholds(again) == [0.5, torch.inf]


def test_a_replaced_classifier_decides_the_number_of_classes(tmp_path):
    model = create_model("dr_resnet_digits").eval()
    model.fc = torch.nn.Linear(64, 5)
    save_pretrained(model, tmp_path, classes="ABCDE")
    again = from_pretrained(tmp_path)
    assert again.num_classes == 5
    assert torch.equal(again(ramp((1, 8, 8))), model(ramp((1, 8, 8))))


def test_an_rcnn_of_another_size_comes_back(tmp_path):
    model = create_model("rcnn160_cifar", num_classes=7, in_chans=1, width=16).eval()
    save_pretrained(model, tmp_path)
    x = ramp((1, 32, 32))
    assert torch.equal(from_pretrained(tmp_path)(x), model(x))


def test_tied_weights_are_saved(tmp_path):
    model = create_model("dr_resnet_digits").eval()
    model.layer2[2].body.conv1.weight = model.layer2[1].body.conv1.weight
    save_pretrained(model, tmp_path)
    assert torch.equal(from_pretrained(tmp_path)(ramp((1, 8, 8))), model(ramp((1, 8, 8))))


@pytest.mark.parametrize("name", [name for name in list_models() if "101" not in name])
def test_networks_of_every_kind_are_saved(tmp_path, name):
    model = create_model(name)
    set_dense(model.requires_grad_(False).eval())
    save_pretrained(model, tmp_path)
    assert from_pretrained(tmp_path).name == name


@pytest.mark.parametrize(
    "text", ["", "my project\n", "library_name: drnn\n", "---\ntitle: mine\n---\nlibrary_name: drnn\n"]
)
def test_somebodys_own_readme_stays(tmp_path, text):
    model = create_model("dr_resnet_digits")
    (tmp_path / "README.md").write_text(text)
    save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == text
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["README.md", "card.json", "config.json", "model.safetensors"]
    (tmp_path / "README.md").unlink()
    for license in ("mit", "bsd-3-clause"):
        save_pretrained(model, tmp_path, card=Card.of(model, license=license))
        assert f"license: {license}" in (tmp_path / "README.md").read_text()


def test_opening_a_folder_draws_no_random_numbers(tmp_path):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path / "net")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    from_pretrained(tmp_path / "net")
    assert torch.equal(torch.rand(3), expected)
