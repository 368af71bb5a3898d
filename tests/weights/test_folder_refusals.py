"""Weights that no folder can hold are refused, and an older folder stays whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drnn import create_model, from_pretrained, optimize, save_pretrained
from drnn.core import AlwaysNoisy, Gate
from drnn.models import Preprocessing
from drnn.models.rcnn import RecurrentConv2d
from drnn.models.resnet import ResNetSpec
from drnn.weights import Card


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_classifier(classifier):
    model = create_model("dr_resnet_digits")
    model.fc = classifier
    return model


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


def test_a_network_that_was_built_without_a_name_is_refused(tmp_path):
    model = ResNetSpec((1, 2), (1, 2), target_rate=0.7, width=8, input_size=(1, 8, 8)).build()
    with pytest.raises(ValueError, match=r"this ResNet was built without a name .*; make it by drnn\.create_model\("):
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


class Cosine(torch.nn.Linear):
    """A last layer of one's own, whose weights look like any other's."""

    def forward(self, x):
        return super().forward(torch.nn.functional.normalize(x))


def of_its_own(model):
    model.fc = Cosine(model.fc.in_features, model.fc.out_features)


def with_fewer_loops(model):
    model.layer2[1].num_loops = 1


def with_other_odds(model):
    model.layer1[0].survival = 1.0


def with_fewer_iterations(model):
    next(module for module in model.modules() if isinstance(module, RecurrentConv2d)).iterations = 1


def with_lots(model):
    model.layer2[1].gate.decide = AlwaysNoisy()


@pytest.mark.parametrize(
    ("name", "change", "layer"),
    [
        ("dr_resnet_digits", of_its_own, "fc"),
        ("dr_resnet_digits", with_fewer_loops, r"layer2\.1"),
        ("dr_resnet_digits", with_lots, r"layer2\.1\.gate\.decide"),
        ("sd_resnet110_cifar", with_other_odds, r"layer1\.0"),
        ("rcnn160_cifar", with_fewer_iterations, ".*"),
    ],
)
def test_what_weights_do_not_tell_is_compared_too(tmp_path, name, change, layer):
    model = create_model(name)
    save_pretrained(model, tmp_path / "as_built")
    change(model)
    with pytest.raises(ValueError, match=rf"1 layers differ .* first {layer} \("):
        save_pretrained(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_layer_of_another_class_that_does_the_same_is_saved(tmp_path):
    class Named(torch.nn.Linear):
        pass

    model = create_model("dr_resnet_digits")
    model.fc = Named(model.fc.in_features, model.fc.out_features)
    save_pretrained(model, tmp_path / "net")


@pytest.mark.parametrize(
    ("wrap", "way"),
    [
        (torch.nn.DataParallel, r"give the one inside: model\.module$"),
        (torch.compile, r"give the one inside: model\._orig_mod$"),
        (lambda model: torch.nn.Linear(2, 2), "as drnn.create_model and"),
    ],
    ids=["parallel", "compiled", "other"],
)
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # by the compiler of torch 2.11
def test_what_is_no_network_of_this_library_is_refused(tmp_path, wrap, way):
    with pytest.raises(TypeError, match=rf"received; save_pretrained takes networks of drnn\.models, {way}"):
        save_pretrained(wrap(create_model("dr_resnet_digits")), tmp_path / "net")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_another_precision_is_refused(tmp_path, dtype):
    model = create_model("dr_resnet_digits").to(dtype)
    with pytest.raises(ValueError, match=rf"not float32.*of {dtype}; save model\.float\(\)"):
        save_pretrained(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    save_pretrained(model.float(), tmp_path / "net")


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
