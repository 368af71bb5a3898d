"""Our networks under timm's names and options, and who imports whom."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from drnn import create_model, from_pretrained, list_models, save_pretrained
from drnn.models import Preprocessing
from drnn.models.preprocessing import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, IMAGENET_STD
from drnn.prediction.images import read_image
from drnn.weights import preprocessing_of, timm_models

from .images import ramp

timm = pytest.importorskip("timm", reason="the extra timm is not installed")


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
    assert [name for name in list_models() if not timm.is_model(name)] == ["rcnn160_cifar"]


def test_timm_networks_are_saved_and_opened_as_ours(tmp_path):
    made = timm.create_model("dr_resnet_digits").eval()
    made.reset_classifier(5)
    save_pretrained(made, tmp_path)
    again = from_pretrained(tmp_path)
    assert (again.num_classes, again.name) == (5, "dr_resnet_digits")
    assert torch.equal(again(ramp((1, 8, 8))), made(ramp((1, 8, 8))))
    with pytest.raises(ValueError, match="cannot be opened again"):
        save_pretrained(timm.create_model("dr_resnet_digits", num_classes=0), tmp_path / "none")


def test_trained_weights_reach_other_heads_and_features(tmp_path):
    ours = create_model("dr_resnet16_cifar").eval()
    save_pretrained(ours, tmp_path)
    trained = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "model.safetensors")}}
    x = ramp((3, 32, 32))
    whole, five, grey, features = (
        timm.create_model("dr_resnet16_cifar", **trained, **options).eval()
        for options in ({}, {"num_classes": 5}, {"in_chans": 1}, {"features_only": True})
    )
    assert torch.equal(whole(x), ours(x))
    assert five(x).shape == (2, 5)
    assert torch.equal(five.forward_features(x), whole.forward_features(x))
    assert torch.equal(grey.conv1.weight, ours.conv1.weight.sum(1, keepdim=True))
    assert torch.equal(features(x)[-1], whole.forward_features(x))


def test_a_network_with_another_dropout_is_saved(tmp_path):
    save_pretrained(timm.create_model("dr_mobilenetv2", drop_rate=0.0), tmp_path)
    assert from_pretrained(tmp_path).name == "dr_mobilenetv2"


def test_options_of_timm_that_change_nothing_are_accepted():
    options = {"drop_rate": 0.0, "drop_path_rate": 0.0, "drop_block_rate": 0.0, "global_pool": "avg"}
    made = timm.create_model("dr_resnet16_cifar", **options)
    assert made.input_size == (3, 32, 32)
    made.reset_classifier(4, "avg")
    made.set_grad_checkpointing(False)
    sized = [timm.create_model("dr_resnet16_cifar", img_size=size, in_chans=1) for size in (64, (64, 48))]
    assert [model.input_size for model in sized] == [(1, 64, 64), (1, 64, 48)]
    whole = timm.create_model("dr_resnet53", img_size=160)
    assert preprocessing_of(whole) == Preprocessing((3, 160, 160), IMAGENET_MEAN, IMAGENET_STD)
    # MobileNetV2 has a dropout before its classifier, so there it is taken
    assert timm.create_model("dr_mobilenetv2", drop_rate=0.0).dropout.p == 0
    assert timm.create_model("dr_mobilenetv2").dropout.p == 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_rate": 0.1}, "drop_rate=0.1 received; dr_resnet_digits has no dropout"),
        ({"drop_path_rate": 0.1}, "drop_path_rate=0.1 received; dr_resnet_digits has no"),
        ({"global_pool": "max"}, "global_pool='max' received; dr_resnet_digits has"),
        ({"global_pool": ""}, "global_pool='' received"),
        ({"img_size": (8, 8, 8)}, r"img_size=\(8, 8, 8\) received"),
        ({"img_size": 0}, "img_size=0 received"),
        ({"img_size": "8"}, "img_size='8' received"),
        ({"features_only": True, "feature_cls": "list"}, "feature_cls='list' received; .*'getter' only"),
        ({"features_only": True, "feature_cls": "dict"}, "feature_cls='dict' received"),
        ({"features_only": True, "feature_cls": "hook"}, "feature_cls='hook' received"),
        ({"features_only": True, "out_indices": (0, 9)}, r"\(0, 9\) received; .*2 stages"),
        ({"features_only": True, "out_indices": 3}, "3 received; .*2 stages"),
        ({"features_only": True, "out_indices": ()}, r"\(\) received; .*2 stages"),
    ],
)
def test_options_of_timm_that_our_networks_do_not_have_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("dr_resnet_digits", **options)


def test_calls_of_timm_that_our_networks_do_not_have_are_refused():
    made, x = timm.create_model("dr_resnet_digits").eval(), ramp((1, 8, 8))
    assert [len(made.forward_intermediates(x, indices=i, intermediates_only=True)) for i in (1, 2, [-1], None)] == [
        1, 2, 1, 2,
    ]  # fmt: skip
    for indices in (99, 0, [2], [-3]):
        with pytest.raises(ValueError, match="2 stages"):
            made.forward_intermediates(x, indices=indices)
    with pytest.raises(ValueError, match=r"output_fmt 'NLC' received.*NCHW"):
        made.forward_intermediates(x, output_fmt="NLC")
    with pytest.raises(ValueError, match="checkpointing"):
        made.set_grad_checkpointing()
    with pytest.raises(ValueError, match="global_pool='max' received"):
        made.reset_classifier(3, "max")


@pytest.mark.parametrize(
    ("name", "mean", "std", "crop"),
    [("dr_resnet16_cifar", CIFAR10_MEAN, CIFAR10_STD, 1.0), ("dr_resnet53", IMAGENET_MEAN, IMAGENET_STD, 0.875)],
)
def test_timm_prepares_pictures_as_our_own_prediction_does(tmp_path, name, mean, std, crop):
    made = timm.create_model(name)
    told = timm.data.resolve_data_config({}, model=made)
    assert (told["mean"], told["std"], told["input_size"]) == (mean, std, made.input_size)
    assert (told["interpolation"], told["crop_pct"], told["crop_mode"]) == ("bilinear", crop, "squash")
    side = torch.linspace(0, 20, 400)
    smooth = 127 + 60 * torch.stack([side[:300, None].sin() + side.cos(), side[:300, None].cos() * side.sin()] * 2)[:3]
    picture = torchvision.transforms.functional.to_pil_image(smooth.byte())
    picture.save(tmp_path / "picture.png")
    ours = read_image(tmp_path / "picture.png", made.input_size) / 255
    theirs = timm.data.create_transform(**told, is_training=False)(picture)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    assert (theirs * std + mean - ours).abs().max() < 3 / 255


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


@pytest.mark.parametrize(
    ("name", "side", "reductions"),
    [("dr_mobilenetv2", 300, [2, 4, 8, 16, 16, 32, 32]), ("dr_resnet16_cifar", 33, [1, 2, 4])],
)
def test_timm_is_told_the_strides_at_sizes_they_do_not_divide(name, side, reductions):
    net = timm.create_model(name, features_only=True, img_size=side, feature_cls="getter")
    assert net.feature_info.reduction() == reductions


def test_a_timm_too_old_for_our_networks_is_told_and_left_alone(monkeypatch):
    monkeypatch.delattr(timm.models, "generate_default_cfgs")
    before = timm.list_models()
    with pytest.warns(UserWarning, match=rf"that needs timm {re.escape(timm_models.OLDEST)} or later"):
        timm_models.register()
    assert timm.list_models() == before
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["timm"] == [f"timm>={timm_models.OLDEST}"]


def test_drnn_alone_imports_no_optional_package():
    code = "import sys, drnn; print([n for n in ('timm', 'onnx', 'onnxruntime', 'onnxscript') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "order",
    [
        "import drnn, timm",
        "import timm, drnn",
        "import drnn, importlib.util as u; u.find_spec('timm'); u.find_spec('timm'); import timm",
    ],
    ids=["drnn-first", "timm-first", "probed"],
)
def test_timm_knows_our_names_in_any_order_of_import(order):
    left = "[f for f in sys.meta_path if type(f).__module__.startswith('drnn')]"
    code = f"{order}; import importlib.resources, sys; print(timm.is_model('dr_resnet53'), {left})"
    strict = ["-W", "error", "-W", "ignore:`torch.jit"]  # timm 1.0.26 uses what torch 2.11 calls deprecated
    done = subprocess.run([sys.executable, *strict, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True []\n", 0), done.stderr
