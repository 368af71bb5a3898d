"""Weights as files: round trips without a network, hostile files, foreign names, timm."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from drnn import create_model, from_pretrained, save_pretrained
from drnn.core import Gate
from drnn.weights import Card, Preprocessing, load_foreign, load_pretrained, read_weights

timm = pytest.importorskip("timm", reason="the extra timm is not installed")


def ramp(size):
    return torch.linspace(-2, 2, 2 * size[0] * size[1] * size[2]).sin().view(2, *size)


def spread_norms(model):
    """Norms that are not the identity, so that a swapped one shows."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
    return model.eval()


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
    again = load_pretrained(tmp_path / "net")
    assert again.classes == tuple("ABCDEFG")
    assert again.preprocessing == preprocessing
    assert (again.model.name, again.model.num_classes, again.model.target_rate) == ("dr_resnet_digits", 7, 0.4)
    assert again.model.state_dict().keys() == model.state_dict().keys()
    x = ramp((1, 8, 8))
    assert torch.equal(from_pretrained(tmp_path / "net")(x), model(x))
    assert [float(module.threshold) for module in again.model.modules() if isinstance(module, Gate)] == [0.5, torch.inf]


def test_the_card_says_what_was_measured_and_what_was_not(tmp_path):
    model = create_model("dr_resnet_digits")
    card = Card.of(
        model, dataset="digits", recipe="digits", error=[0.01, 0.03], loops_histogram=[1, 2], mean_macs=4.87e6
    )
    save_pretrained(model, tmp_path, card=card)
    shown = (tmp_path / "README.md").read_text()
    assert shown.startswith("---\nlibrary_name: drnn\nlicense: apache-2.0\n")
    assert "| test error | 2.00% +- 1.41% (n = 2, standard deviation) |" in shown
    assert "| parameters | 228,430 |" in shown
    assert json.loads((tmp_path / "card.json").read_text())["loops_histogram"] == [1, 2]
    assert Card.of(model).error_text == "not measured"
    assert Card.of(model, error=[0.01]).error_text == "1.00% (n = 1)"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", '{"model": "dr_resnet_digits"}', "config.json is damaged"),
        ("model.safetensors", "no", "model.safetensors is damaged"),
    ],
)
def test_damaged_folders_are_named(tmp_path, file, text, message):
    save_pretrained(create_model("dr_resnet_digits"), tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


def test_a_missing_source_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        from_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="nobody/nothing is no local folder"):
        from_pretrained("nobody/nothing")


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("nested", [False, True])
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, nested):
    trace, file = tmp_path / "trace", tmp_path / "weights.pth"
    payload = Hostile(f"touch {trace}")
    torch.save({"state_dict": {"fc.weight": torch.zeros(1)}, "extra": payload} if nested else payload, file)
    with pytest.raises(ValueError, match=r"weights\.pth is refused: .*asks for code to run"):
        read_weights(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists()  # the file is hostile indeed


def test_older_files_are_read_and_others_named(tmp_path):
    weights = {"a": torch.ones(2)}
    torch.save(weights, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "nested.pt")
    save_file(weights, tmp_path / "new.safetensors")
    for name in ("plain.pth", "nested.pt", "new.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a"], weights["a"])
    (tmp_path / "cut.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:60])
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in (("cut.pth", "damaged"), ("list.pth", "no weights"), ("plain.npy", "received")):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=message):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", lambda: torchvision.models.resnet50(weights=None)),
        ("resnet50", lambda: timm.create_model("resnet50")),
        ("resnet101", lambda: torchvision.models.resnet101(weights=None)),
        ("resnet101", lambda: timm.create_model("resnet101")),
        ("mobilenetv2", lambda: torchvision.models.mobilenet_v2(weights=None)),
        ("mobilenetv2", lambda: timm.create_model("mobilenetv2_100")),
    ],
    ids=["resnet50-tv", "resnet50-timm", "resnet101-tv", "resnet101-timm", "mobilenetv2-tv", "mobilenetv2-timm"],
)
def test_torchvision_and_timm_weights_give_their_answers(ours, theirs):
    source = spread_norms(theirs())
    options = {"stride_in_3x3": True} if ours.startswith("resnet") else {}
    model = load_foreign(create_model(ours, **options), source.state_dict()).eval()
    x = ramp((3, 64, 64))
    with torch.no_grad():
        expected = source(x)
        assert float((model(x) - expected).abs().max() / expected.abs().max()) < 1e-4


def test_foreign_weights_that_would_answer_wrongly_are_refused():
    with torch.device("meta"):
        resnet, mobilenet = torchvision.models.resnet50(), torchvision.models.mobilenet_v2()
    with pytest.raises(ValueError, match="stride_in_3x3=True"):
        load_foreign(create_model("resnet50"), resnet.state_dict())
    with pytest.raises(ValueError, match="does not fit mobilenetv2"):
        load_foreign(create_model("mobilenetv2"), resnet.state_dict())
    with pytest.raises(ValueError, match="have no resnet20_cifar"):
        load_foreign(create_model("resnet20_cifar"), mobilenet.state_dict())


def test_timm_makes_our_networks_with_its_own_options(tmp_path):
    ours = create_model("dr_resnet53", num_classes=5, in_chans=1).eval()
    save_file(ours.state_dict(), tmp_path / "model.safetensors")
    made = timm.create_model("dr_resnet53", num_classes=5, in_chans=1, checkpoint_path=tmp_path / "model.safetensors")
    x = ramp((1, 64, 64))
    with torch.no_grad():
        assert torch.equal(made.eval()(x), ours(x))
        features = made.forward_features(x)
        assert torch.equal(made.forward_head(features), ours(x))
        assert made.forward_head(features, pre_logits=True).shape == (2, 2048)
    assert "dr_resnet53" in timm.list_models("dr_*")
    assert type(timm.create_model("resnet50")).__module__.startswith("timm.")
    assert timm.create_model("dr_resnet_digits", num_classes=0)(ramp((1, 8, 8))).shape == (2, 64)


@pytest.mark.parametrize(
    ("name", "channels", "reductions"),
    [
        ("dr_resnet53", [256, 512, 1024, 2048], [4, 8, 16, 32]),
        ("dr_mobilenetv2", [16, 24, 32, 64, 96, 160, 320], [2, 4, 8, 16, 16, 32, 32]),
        ("dr_resnet16_cifar", [16, 32, 64], [1, 2, 4]),
    ],
)
def test_timm_features_are_the_stages_outputs(name, channels, reductions):
    net = timm.create_model(name, features_only=True).eval()
    assert net.feature_info.channels() == channels
    assert net.feature_info.reduction() == reductions
    size = (3, 64, 64)
    maps = net(ramp(size))
    assert [tuple(part.shape[1:]) for part in maps] == [
        (c, 64 // r, 64 // r) for c, r in zip(channels, reductions, strict=True)
    ]
    part = timm.create_model(name, features_only=True, out_indices=(1,)).train()
    (only,) = part(ramp(size))
    only.sum().backward()
    assert [key for key, value in part.named_parameters() if value.grad is None] == []


def test_drnn_alone_imports_no_optional_package():
    code = "import sys, drnn; print([n for n in ('timm', 'onnx', 'onnxruntime', 'onnxscript') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("order", ["drnn, timm", "timm, drnn"])
def test_timm_knows_our_names_in_either_order_of_import(order):
    code = f"import {order}; import importlib.resources; print(timm.is_model('dr_resnet53'))"
    strict = ["-W", "error", "-W", "ignore:`torch.jit"]  # timm 1.0.24 uses what torch 2.11 calls deprecated
    done = subprocess.run([sys.executable, *strict, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
