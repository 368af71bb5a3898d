"""Costs are exact: against torch's own counter, closed forms, and every derived value of the tables."""

import copy

import pytest
import torch
import torch.nn.utils.prune
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.core import RecursiveBlock
from drnn.costs import count_costs, count_params
from drnn.tables import TABLE2, TABLE3, all_tables, markdown, measured, published_params

# name: params live, as published (None: no such column), max G, G at target, in the paper's counting
DERIVED = {
    "resnet101": ("44.549", None, "7.602", None),
    "dr_resnet65": ("28.051", "28.123", "7.602", "5.473"),
    "dr_resnet53": ("23.526", "23.601", "7.383", "4.957"),
    "dr_resnet47": ("21.262", "21.340", "7.164", "4.548"),
    "dr_resnet44": ("20.131", "20.212", "7.164", "4.307"),
    "resnet50": ("25.557", None, "3.879", None),
    "dr_resnet35": ("17.560", "17.609", "3.880", "3.266"),
    "mobilenetv2": ("3.505", None, ".3008", None),
    "dr_mobilenetv2": ("2.955", "2.962", ".3008", ".2807"),
    "r_resnet53_naive": ("23.329", None, "7.383", None),
    "r_resnet53_lvbn": ("23.378", "23.390", "7.383", None),
    "resnet110_cifar": ("1.731", None, ".2553", None),
    "dr_resnet74_cifar": (".9140", ".9207", ".2458", ".1843"),
    "dr_resnet66_cifar": (".7272", ".7343", ".2648", ".1813"),
    "dr_resnet58_cifar": (".5388", ".5463", ".2458", ".1613"),
    "dr_resnet54_cifar": (".4446", ".4525", ".2363", ".1492"),
    "resnet56_cifar": (".8558", None, ".1268", None),
    "dr_resnet40_cifar": (".4937", ".4977", ".1268", ".0961"),
    "dr_resnet32_cifar": (".3061", ".3109", ".1268", ".0846"),
    "resnet20_cifar": (".2725", None, ".0412", None),
    "dr_resnet16_cifar": (".1820", ".1841", ".0412", ".0335"),
}


def shown(value: float, like: str) -> str:
    text = f"{value:.{len(like.split('.')[1])}f}"
    return text if not like.startswith(".") else text.lstrip("0")


@pytest.mark.parametrize("name", DERIVED)
def test_derived_values_to_every_digit(name):
    live, published, paper, _ = measured(name)
    expected = DERIVED[name]
    assert shown(live / 1e6, expected[0]) == expected[0]
    assert (published is None) == (expected[1] is None)
    if published is not None:
        assert shown(published / 1e6, expected[1]) == expected[1]
    assert shown(paper.max_macs / 1e9, expected[2]) == expected[2]
    if expected[3]:
        rate = create_model(name).target_rate
        assert shown(paper.expected_macs(rate) / 1e9, expected[3]) == expected[3]


@pytest.mark.parametrize(
    "row", [row for row in TABLE2 + TABLE3 if row.model.startswith("dr_")], ids=lambda row: row.title
)
def test_every_dr_cell_of_tables_2_and_3_as_published(row):
    assert round(measured(row.model)[1] / 1e6, 2) == row.params


def test_dr_resnet53_at_other_targets():
    costs = measured("dr_resnet53")[2]
    assert [round(costs.expected_macs(rate) / 1e9, 3) for rate in (0.65, 0.6)] == [4.646, 4.359]


def test_expected_loops_are_figure_8s():
    assert count_costs(create_model("dr_resnet53")).expected_loops(0.7) == pytest.approx(11.921)


def halve_gates(model, x):
    """Shift every gate, one after the other, so that half of the images pass it where they first arrive."""

    def halve(gate, arguments):
        margin = gate.scorer(arguments[0]).diff(dim=1)
        gate.scorer.fc2.bias[1] -= margin.median()
        hooks.pop(gate).remove()

    gates = [block.gate for block in model.modules() if isinstance(block, RecursiveBlock)]
    hooks = {}
    for gate in gates:
        torch.nn.init.normal_(gate.scorer.fc2.weight)
        hooks[gate] = gate.register_forward_pre_hook(lambda g, a: halve(g, a) if g in hooks else None)
    with torch.no_grad():
        model(x)


@pytest.mark.parametrize("name", ["dr_resnet16_cifar", "dr_resnet32_cifar", "dr_resnet_digits"])
def test_torchs_counter_on_a_run_that_skips_gives_twice_the_predicted_macs(name):
    torch.manual_seed(0)
    model = create_model(name).eval()
    x = torch.randn(12, *model.input_size) * torch.linspace(0.2, 3, 12)[:, None, None, None]
    halve_gates(model, x)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _, record = model.forward_with_gates(x)
    macs = count_costs(model).macs_per_image(record)
    assert len(set(macs.tolist())) > 2
    assert counter.get_total_flops() == 2 * int(macs.sum())


@pytest.mark.parametrize("name", ["resnet20_cifar", "preresnet110_cifar", "rcnn160_cifar", "resnet_digits"])
def test_torchs_counter_on_static_networks(name):
    model = create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.input_size))
    assert counter.get_total_flops() == 2 * count_costs(model).max_macs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_network_of_another_dtype_costs_the_same(dtype):
    model = create_model("dr_resnet_digits")
    assert count_costs(copy.deepcopy(model).to(dtype)) == count_costs(model)


def test_limits_of_the_expectation():
    costs = count_costs(create_model("dr_resnet16_cifar"))
    assert costs.expected_macs(1) == costs.max_macs
    assert costs.expected_macs(0) == costs.fixed_macs + costs.gate_macs[0] + costs.gate_macs[2]


def test_digits_networks_have_the_same_maximum():
    loops, static = (
        count_costs(create_model(name), counting="paper").max_macs for name in ("dr_resnet_digits", "resnet_digits")
    )
    assert loops == static


def test_errors_say_what_was_received():
    with pytest.raises(ValueError, match="counting 'flops'"):
        count_costs(create_model("resnet20_cifar"), counting="flops")
    model = create_model("dr_resnet16_cifar").eval()
    _, record = model.forward_with_gates(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="record of 4 loop slots received for costs of 0"):
        count_costs(create_model("resnet20_cifar")).macs_per_image(record)


def test_static_networks_carry_nothing_unused():
    assert published_params(create_model("resnet20_cifar")) is None
    assert published_params(create_model("r_resnet53_naive")) is None
    by_hand = 3 * 16 * 9 + 6 * 16 * 16 * 9 + (16 + 5 * 32) * 32 * 9 + (32 + 5 * 64) * 64 * 9  # 3 x 3 convolutions
    by_hand += 16 * 32 + 32 * 64 + 2 * (7 * 16 + 7 * 32 + 7 * 64) + 65 * 10  # projections, norms, classifier
    assert count_params(create_model("resnet20_cifar")) == by_hand


def test_tables_have_every_row():
    tables = all_tables()
    assert [len(rows) for rows in tables.values()] == [14, 15, 6]
    assert markdown().count("\n|") == 14 + 15 + 6 + 6


def test_a_network_of_somebody_else_needs_the_size_of_its_images():
    with pytest.raises(ValueError, match=r"input_size None for Sequential; give \(C, H, W\)"):
        count_costs(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)))
