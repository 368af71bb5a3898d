"""Folders of weights: whole round trips without a network, or an error and nothing written."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drnn import create_model, from_pretrained, list_models, optimize, save_pretrained
from drnn.core import Gate
from drnn.models import Preprocessing, set_dense
from drnn.weights import Card

from .images import ramp


def thresholds(model):
    return [float(module.threshold) for module in model.modules() if isinstance(module, Gate)]


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_classifier(classifier):
    model = create_model("dr_resnet_digits")
    model.fc = classifier
    return model


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
    model = with_classifier(torch.nn.Linear(64, 5)).eval()
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


def test_networks_that_no_config_describes_are_refused(tmp_path):
    changed = create_model("dr_resnet_digits")
    changed.conv1 = torch.nn.Conv2d(1, 32, 5, padding=2, bias=False)
    for model in (
        optimize(create_model("dr_resnet_digits")),
        optimize(create_model("resnet_digits")),
        with_classifier(torch.nn.Identity()),
        with_classifier(torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(64, 5))),
        changed,
    ):
        with pytest.raises(ValueError, match=r"digits cannot be opened again.*drnn\.optimize.*save the network it was"):
            save_pretrained(model, tmp_path / "net")
        assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("layer", "setting", "value"),
    [
        ("conv1", "stride", (2, 2)),
        ("layer2.1.body.conv1", "padding", (0, 0)),
        ("layer1.0.conv1", "dilation", (2, 2)),
        ("bn1", "eps", 1e-3),
    ],
)
def test_layers_set_by_hand_are_refused(tmp_path, layer, setting, value):
    model = create_model("dr_resnet_digits")
    setattr(model.get_submodule(layer), setting, value)
    with pytest.raises(ValueError, match=rf"1 layers differ .* first {layer} \(.*{setting}=.*Set them back"):
        save_pretrained(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_another_precision_is_refused(tmp_path, dtype):
    model = create_model("dr_resnet_digits").to(dtype)
    with pytest.raises(ValueError, match=rf"not float32.*of {dtype}; save model\.float\(\)"):
        save_pretrained(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    save_pretrained(model.float(), tmp_path / "net")


@pytest.mark.parametrize("name", [name for name in list_models() if "101" not in name])
def test_networks_of_every_kind_are_saved(tmp_path, name):
    model = create_model(name)
    set_dense(model.requires_grad_(False).eval())
    save_pretrained(model, tmp_path)
    assert from_pretrained(tmp_path).name == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("conv1.weight", torch.int8), ("fc.bias", torch.complex64), ("bn1.num_batches_tracked", torch.float32)],
)
def test_weights_of_another_kind_of_number_are_refused(tmp_path, name, kind):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, name: weights[name].to(kind)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"does not fit dr_resnet_digits: 1 entries .*kind.*first \['{name}'\]"):
        from_pretrained(tmp_path)
    halved = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    save_file(halved, tmp_path / "model.safetensors")  # the same numbers, shorter
    assert from_pretrained(tmp_path).fc.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["config.json", ".card.json.part", "README.md"])
def test_a_folder_in_a_files_place_leaves_the_others_whole(tmp_path, name):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    before = contents(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match=rf"{name} is a folder where a file belongs"):
        save_pretrained(create_model("dr_resnet_digits", num_classes=3), tmp_path)
    (tmp_path / name).rmdir()
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "text", ["", "my project\n", "library_name: drnn\n", "---\ntitle: mine\n---\nlibrary_name: drnn\n"]
)
def test_somebodys_own_readme_stays(tmp_path, text):
    model = create_model("dr_resnet_digits")
    (tmp_path / "README.md").write_text(text)
    save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == text
    assert sorted(contents(tmp_path)) == ["README.md", "card.json", "config.json", "model.safetensors"]
    (tmp_path / "README.md").unlink()
    for license in ("mit", "bsd-3-clause"):
        save_pretrained(model, tmp_path, card=Card.of(model, license=license))
        assert f"license: {license}" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("made", "card", "preprocessing", "message"),
    [
        ({}, lambda model: replace(Card.of(model), error=[float("nan")]), None, "card's error .*nan.* finite"),
        ({}, lambda model: replace(Card.of(model), error=[np.float32(0.5)]), None, "card's error .*plain"),
        ({}, lambda model: replace(Card.of(model), mean_macs=torch.tensor(1.0)), None, "card's mean_macs .*plain"),
        ({}, lambda model: replace(Card.of(model), license=3), None, "card's license 3 received.*text"),
        (
            {},
            lambda model: Card.of(create_model("resnet_digits")),
            None,
            "card of resnet_digits .*for dr_resnet_digits",
        ),
        ({}, lambda model: Card.of(create_model("dr_resnet_digits", num_classes=3)), None, "card of .*parameters"),
        ({}, None, Preprocessing((3, 32, 32), (0.5,) * 3, (0.5,) * 3), "3 channels.*takes 1"),
        ({"target_rate": np.float32(0.5)}, None, None, "spec.*float32"),
    ],
)
def test_what_cannot_be_saved_leaves_an_older_folder_whole(tmp_path, made, card, preprocessing, message):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    before = contents(tmp_path)
    model = create_model("dr_resnet_digits", **made)
    with pytest.raises(ValueError, match=message):
        save_pretrained(model, tmp_path, preprocessing, card and card(model))
    assert contents(tmp_path) == before


def test_a_threshold_that_is_no_number_leaves_an_older_folder_whole(tmp_path):
    model = create_model("dr_resnet_digits")
    save_pretrained(model, tmp_path)
    before = contents(tmp_path)
    next(module for module in model.modules() if isinstance(module, Gate)).threshold.fill_(torch.nan)
    with pytest.raises(ValueError, match="threshold nan"):
        save_pretrained(model, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("written", range(4))
def test_a_full_disk_leaves_an_older_folder_whole(written, tmp_path, fill_disk):
    torch.manual_seed(0)
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    before, disk = contents(tmp_path), fill_disk(written)
    model = create_model("dr_resnet_digits")
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(model, tmp_path, card=Card.of(model, license="mit"))
    assert contents(tmp_path) == before
    disk.undo()
    save_pretrained(model, tmp_path, card=Card.of(model, license="mit"))
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in ("model.safetensors", "card.json", "README.md"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", '{"model": "dr_resnet_digits"}', "config.json is damaged"),
        ("config.json", "[" * 100_000, "config.json is damaged"),
        ("model.safetensors", "no", "model.safetensors is damaged"),
    ],
)
def test_damaged_folders_are_named(tmp_path, file, text, message):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "nope"},
        {"model": ["a"]},
        {"thresholds": "abc"},
        {"thresholds": ["nan", "nan"]},
        {"thresholds": [None, None]},
        {"thresholds": []},
        {"classes": ["a"]},
        {"classes": "0123456789"},
        {"preprocessing": {"size": [3, 8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"preprocessing": {"size": [1, 8, 8], "mean": ["a"], "std": [1]}},
        {"preprocessing": {"size": [1, 8, 8], "mean": [0], "std": ["nan"]}},
        {"spec": {"width": -1}},
        {"spec": {"width": 0}},
        {"spec": {"width": 3.5}},
        {"spec": {"blocks": []}},
        {"spec": {"blocks": "ab"}},
        {"spec": {"input_size": []}},
        {"spec": {"input_size": 5}},
        {"spec": {"input_size": [1, "a", 8]}},
        {"spec": {"num_classes": "10"}},
        {"spec": {"name": "x"}},
        {"spec": {"body": ["x"]}},
    ],
    ids=str,
)
def test_a_damaged_config_is_named(tmp_path, change):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, **change}))
    with pytest.raises(ValueError, match=r"config\.json"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "part", "known"),
    [
        ("resnet_digits", "norm", "'shared', 'lvbn', 'ilvbn'"),
        ("resnet_digits", "gate", "'hidden', 'linear', None"),
        ("resnet_digits", "gate_noise", "'none', 'training', 'always'"),
        ("resnet_digits", "residual", "'plain', 'stochastic', 'aig'"),
        ("dr_resnet_digits", "norm", "'shared', 'lvbn', 'ilvbn'"),
        ("dr_resnet_digits", "body", "'basic', 'bottleneck', 'preact'"),
        ("dr_resnet_digits", "stem", "'cifar', 'imagenet'"),
    ],
)
def test_a_config_with_a_part_that_is_not_there_is_refused_with_those_that_are(tmp_path, name, part, known):
    save_pretrained(create_model(name), tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, "spec": {**held["spec"], part: "nonsense"}}))
    with pytest.raises(ValueError, match=rf"config\.json is damaged: .*{part} 'nonsense' received; .* {known}"):
        from_pretrained(tmp_path)


def test_a_config_of_an_enormous_network_allocates_nothing(tmp_path):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, "spec": {"width": 10_000_000}}))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit dr_resnet_digits"):
        from_pretrained(tmp_path)


def test_a_missing_source_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        from_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="nobody/nothing is no local folder"):
        from_pretrained("nobody/nothing")
