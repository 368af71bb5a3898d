"""Which networks and cases are measured against each other, and which are refused."""

import pytest

from drnn.bench.inference import cases_for, run_cases
from drnn.bench.report import markdown
from drnn.bench.subjects import Case

PAIR = ("dr_resnet_digits", "resnet_digits")


@pytest.mark.parametrize("field", [{"form": "fast"}, {"batch_size": 0}, {"rounds": 0}])
def test_cases_refuse_what_cannot_be_measured(field):
    (name,) = field
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        Case(**{"first": PAIR[0], "second": PAIR[1], "form": "plain", "batch_size": 1, "rounds": 1, **field})


def test_torchvisions_own_network_is_timed_beside_ours(tmp_path):
    case = Case("torchvision/mobilenet_v2", "mobilenetv2", "plain", 1, 1)
    (entry,) = run_cases([case], 1, tmp_path / "result.json")
    assert 0.9 < entry["macs_mean"] / entry["static_macs"] < 1.1
    assert entry["efficiency"] * entry["static_macs"] / entry["macs_mean"] == pytest.approx(1 / entry["ratio"])
    assert "No gates." in markdown([entry])
    for pair in (("torchvision/mobilenet_v2", "mobilenetv2"), ("dr_mobilenetv2", "torchvision/mobilenet_v2")):
        with pytest.raises(ValueError, match="run plain only"):
            Case(*pair, "optimised", 1, 1)


def test_captured_is_for_one_image_only():
    cases = cases_for(("dr_resnet53", "resnet101"), [1, 8], ["plain", "captured"], 2, False, 0, "cuda")
    assert [(case.form, case.batch_size) for case in cases] == [("plain", 1), ("plain", 8), ("captured", 1)]
    for sizes, device in (([8], "cuda"), ([1], "cpu")):
        with pytest.raises(ValueError, match=f"'captured' received with batch size {sizes[0]} on {device}"):
            cases_for(("dr_resnet53", "resnet101"), sizes, ["captured"], 2, False, 0, device)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("dr_resnet16_cifar", "resnet50"), r"\(3, 32, 32\) and resnet50 of \(3, 224, 224\)"),
        (("dr_resnet16_cifar", "torchvision/mobilenet_v2"), r"\(3, 32, 32\) and torchvision/mobilenet_v2 of \(3, 224"),
        (("torchvision/resnet50", "resnet20_cifar"), r"\(3, 224, 224\) and resnet20_cifar of \(3, 32, 32\)"),
        (("resnet20_cifar", "resnet20_cifar"), "asks no gates before its loops; give a recursive one"),
        (("aig_resnet110_cifar", "resnet110_cifar"), "asks no gates before its loops; give a recursive one"),
        (("dr_resnet16_cifar", "dr_resnet16_cifar"), "which has gates; give a static one"),
    ],
)
def test_networks_that_make_no_pair_are_refused(pair, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        list(run_cases([Case(*pair, "plain", 1, 1)], 1, tmp_path / "result.json"))
    assert list(tmp_path.iterdir()) == []
