"""Folders of weights that are opened: damaged, enormous or missing ones are named."""

import json
from dataclasses import fields, replace

import pytest
import torch

from drnn import create_model, from_pretrained, list_models, save_pretrained
from drnn.models import model_spec
from drnn.models.registry import MODELS
from drnn.weights.config import describe


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


@pytest.mark.parametrize("name", list_models())
def test_every_field_that_builds_a_network_is_in_its_config(name):
    config = describe(create_model(name, **({"width": 8} if hasattr(model_spec(name), "width") else {})))
    assert config.on_meta().spec == replace(model_spec(name), **config.spec)
    idle = set() if "dr_" in name else {"norm", "gate", "gate_noise"}  # what a network without loops refuses
    assert config.spec.keys() >= {field.name for field in fields(model_spec(name))} - idle


def test_a_name_that_means_another_network_by_now_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "mine", replace(MODELS["dr_resnet35"], width=8, stride_in_3x3=True))
    model = create_model("mine", num_classes=3).eval()
    save_pretrained(model, tmp_path)
    monkeypatch.setitem(MODELS, "mine", replace(MODELS["dr_resnet35"], width=8))
    again, x = from_pretrained(tmp_path), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert again.spec == model.spec
    assert torch.equal(again(x), model(x))
