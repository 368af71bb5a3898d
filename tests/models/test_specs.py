"""What networks can be asked for by name: fields that fit, and words for those that do not."""

import re

import numpy as np
import pytest
import torch

from drnn import create_model, list_models
from drnn.core import gates_of
from drnn.models.counterparts import counterpart
from drnn.models.mobilenetv2 import MobileNetV2Spec
from drnn.models.registry import spec_for
from drnn.models.resnet import ResNetSpec


def test_unknown_names_and_fields_answer_with_what_there_is():
    with pytest.raises(ValueError, match="did you mean dr_resnet53"):
        create_model("dr_resnt53")
    with pytest.raises(ValueError, match=r"no field widht; its fields are .*width"):
        create_model("resnet20_cifar", widht=8)
    with pytest.raises(ValueError, match="norm 'batch' received; choose one of 'shared', 'lvbn', 'ilvbn'"):
        create_model("dr_resnet16_cifar", norm="batch")
    with pytest.raises(ValueError, match="give one of each"):
        create_model("resnet20_cifar", loops=(1, 2))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet20_cifar", {"blocks": 3}, "blocks 3 received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"blocks": []}, r"blocks \(\) received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"blocks": (3, 3.0, 3)}, "blocks .* received; give whole numbers"),
        ("dr_mobilenetv2", {"loops": [0] * 7}, "loops .* received; give whole numbers, 1 or more"),
        ("resnet20_cifar", {"num_classes": 0}, "num_classes 0 received; give a whole number, 1 or more"),
        ("resnet20_cifar", {"num_classes": "10"}, "num_classes '10' received; give a whole number"),
        ("rcnn160_cifar", {"width": True}, "width True received; give a whole number"),
        ("resnet20_cifar", {"in_chans": 0}, r"input_size \(0, 32, 32\) received; give whole numbers"),
        ("resnet20_cifar", {"in_chans": 1, "input_size": 32}, "input_size 32 received; give whole numbers"),
        ("resnet20_cifar", {"input_size": (3, 32)}, r"input_size \(3, 32\) received; give \(C, H, W\)"),
        ("preresnet110_cifar", {"residual": "stochastic"}, "residual 'stochastic' received for the body 'preact'"),
        ("aig_resnet110_cifar", {"body": "preact"}, "residual 'aig' received for the body 'preact'"),
        ("resnet20_cifar", {"pretrained": True}, r"pretrained received; drnn\.from_pretrained\(folder\) opens trained"),
        ("dr_resnet53", {"target_rate": 1.5}, "target_rate 1.5 received; a rate lies between 0 and 1"),
        ("dr_resnet53", {"target_rate": "half"}, "target_rate 'half' received; a rate lies"),
        ("dr_resnet53", {"target_rate": 0.5, "gate": None}, "target_rate 0.5 received; this dr_resnet53 has no gates"),
        ("dr_mobilenetv2", {"target_rate": 0.5, "loops": [1] * 7}, "target_rate 0.5 received; this dr_mobilenetv2 has"),
        ("mobilenetv2", {"target_rate": 0.5, "loops": [2, 1, 1, 1, 1, 1, 1]}, "target_rate 0.5 received"),
        ("resnet20_cifar", {"target_rate": 0.5}, "target_rate 0.5 received; this resnet20_cifar has no gates"),
        ("resnet20_cifar", {"norm": "ilvbn"}, "norm 'ilvbn' received; no block of this resnet20_cifar loops"),
        ("resnet20_cifar", {"gate": "linear"}, "gate 'linear' received; no block of this resnet20_cifar loops"),
        ("mobilenetv2", {"gate_noise": "none"}, "gate_noise 'none' received; no block of this mobilenetv2 loops"),
        ("r_resnet53_lvbn", {"gate_noise": "training"}, "gate_noise 'training' received; this r_resnet53_lvbn has no"),
        ("dr_resnet16_cifar", {"gate": None, "gate_noise": "always"}, "gate_noise 'always' received; this dr_resnet16"),
        ("aig_resnet50", {"gate_noise": "training"}, "gate_noise 'training' received; no block of this aig_resnet50"),
        ("dr_resnet53", {"norm": "lvbn", "loops": [1] * 4}, "norm 'lvbn' received; no block of this dr_resnet53"),
    ],
)
def test_values_that_do_not_fit_are_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        create_model(name, **overrides)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet20_cifar", {"norm": "nonsense"}, "norm 'nonsense' received; choose one of 'shared', 'lvbn', 'ilvbn'"),
        ("resnet20_cifar", {"gate": "nonsense"}, "gate 'nonsense' received; choose one of 'hidden', 'linear', None"),
        ("resnet20_cifar", {"gate_noise": "on"}, "gate_noise 'on' received; choose one of 'none', 'training'"),
        ("dr_resnet16_cifar", {"gate": None, "gate_noise": "on", "target_rate": None}, "gate_noise 'on' received"),
        ("r_resnet53_naive", {"gate_noise": None}, "gate_noise None received"),
        ("mobilenetv2", {"norm": "nonsense"}, "norm 'nonsense' received; choose one of"),
        ("mobilenetv2", {"gate": "nonsense"}, "gate 'nonsense' received; choose one of"),
        ("mobilenetv2", {"gate_noise": "nonsense"}, "gate_noise 'nonsense' received; choose one of"),
        ("resnet20_cifar", {"body": "big"}, "body 'big' received; choose one of 'basic', 'bottleneck', 'preact'"),
        ("resnet20_cifar", {"stem": "big"}, "stem 'big' received; choose one of 'cifar', 'imagenet'"),
        ("resnet20_cifar", {"residual": "x"}, "residual 'x' received; choose one of 'plain', 'stochastic', 'aig'"),
        ("preresnet110_cifar", {"residual": "x"}, "residual 'x' received; choose one of"),
        ("dr_resnet16_cifar", {"norm": {"lvbn": 1}}, "norm {'lvbn': 1} received; choose one of"),
    ],
)
def test_a_part_that_is_not_there_is_refused_wherever_it_would_stand(name, overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        spec_for(name, **overrides)
    with pytest.raises(ValueError, match=re.escape(message)), torch.device("meta"):
        create_model(name, **overrides)


def test_a_specification_without_stages_is_refused():
    for spec, message in ((ResNetSpec, "give one of each"), (MobileNetV2Spec, "give 7 of each")):
        for shape in ({"blocks": ()}, {"blocks": (), "loops": ()}, {"blocks": (1,) * 7, "loops": (0,) * 7}):
            with pytest.raises(ValueError, match=message):
                spec(**shape)


@pytest.mark.parametrize(
    ("name", "overrides", "rate"),
    [
        ("dr_resnet53", {"gate": None}, None),
        ("dr_resnet53", {"loops": [1, 1, 1, 1]}, None),
        ("dr_mobilenetv2", {"gate": None}, None),
        ("dr_resnet53", {"gate": "linear"}, 0.7),
        ("dr_resnet53", {"target_rate": None}, None),
        ("resnet20_cifar", {"loops": [1, 1, 2], "target_rate": 1}, 1),
        ("resnet20_cifar", {"residual": "aig", "target_rate": 0.5}, 0.5),
    ],
)
def test_only_gates_have_a_target_rate(name, overrides, rate):
    with torch.device("meta"):
        assert create_model(name, **overrides).target_rate == rate


def test_lists_are_taken_for_tuples():
    with torch.device("meta"):
        model = create_model("resnet20_cifar", blocks=[1, 2, 1], loops=[1, 2, 1], input_size=[1, 16, 16])
    assert (model.spec.blocks, model.spec.loops, model.input_size) == ((1, 2, 1), (1, 2, 1), (1, 16, 16))
    with torch.device("meta"):
        assert create_model("rcnn160_cifar", input_size=[1, 16, 16]).input_size == (1, 16, 16)


def test_classes_and_channels_can_be_chosen():
    model = create_model("dr_mobilenetv2", num_classes=7, in_chans=1).eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("resnet20_cifar", True, "stride_in_3x3 True received; only bottlenecks have one, and this resnet20_cifar has"),
        ("resnet50", "no", "stride_in_3x3 'no' received; give True or False"),
        ("resnet50", 1, "stride_in_3x3 1 received; give True or False"),
    ],
)
def test_a_stride_has_a_place_too(name, value, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, stride_in_3x3=value)
    with torch.device("meta"):
        create_model("resnet20_cifar", stride_in_3x3=False)
        assert create_model("resnet50", stride_in_3x3=True).layer2[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("name", list_models("dr_*"))
def test_every_network_with_gates_has_a_static_counterpart_of_its_table(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=7, input_size=(1, 64, 64))
        static = counterpart(model)
    assert (static.num_classes, static.input_size) == (7, (1, 64, 64))
    assert gates_of(static) == {}
    assert static.spec.input_size == model.spec.input_size


def test_whole_numbers_of_numpy_become_pythons():
    """As labels.max() + 1 gives them; a card holds plain ones only."""
    model = create_model("dr_resnet16_cifar", num_classes=np.int64(5), blocks=[3, np.int32(2), 2])
    assert type(model.num_classes) is int
    assert [type(count) for count in model.spec.blocks] == [int] * 3
