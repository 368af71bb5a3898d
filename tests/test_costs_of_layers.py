"""Layers that are counted, registered, or refused."""

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from drnn import create_model
from drnn.core import RecursiveBlock, collected, gates_of, set_thresholds
from drnn.costs import count_costs, count_params, register
from drnn.inference import optimize


@pytest.mark.parametrize("name", ["dr_resnet16_cifar", "resnet_digits", "preresnet110_cifar"])
def test_a_network_with_layers_that_nobody_can_count_is_refused(name):
    optimised = optimize(create_model(name))
    with pytest.raises(ValueError, match=r"holds .*; of an optimised network, count the network it was made of"):
        count_costs(optimised)
    with pytest.raises(ValueError, match="count the network it was made of"):
        count_params(optimised)


def test_an_unknown_layer_is_named_and_not_taken_for_free():
    model = create_model("resnet_digits")
    model.layer2.append(torch.nn.PReLU(64))
    with pytest.raises(ValueError, match=r"layer2\.\d+ \(PReLU\)"):
        count_costs(model)
    assert count_params(model) == count_params(create_model("resnet_digits")) + 64
    model.layer2[-1] = torch.nn.GroupNorm(4, 64)
    assert count_costs(model) == count_costs(create_model("resnet_digits"))


class ChannelScorer(torch.nn.Module):
    """Scores by a convolution along the channels, as Efficient Channel Attention weighs them."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv1d(1, 2, 3, padding=1), torch.nn.Linear(2 * channels, 2)

    def forward(self, x):
        return self.fc(self.conv(x.mean((2, 3))[:, None]).flatten(1))


def test_a_gate_that_convolves_along_channels_is_counted():
    model = create_model("dr_resnet_digits").eval()
    for gate in gates_of(model).values():
        gate.scorer = ChannelScorer(gate.scorer.fc1.in_features)
    set_thresholds(model, dict.fromkeys(gates_of(model), -torch.inf))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.input_size))
    assert counter.get_total_flops() == 2 * count_costs(model).max_macs


class Scale(torch.nn.Module):
    """A layer with a parameter and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        return (x - self.mean) * self.gain


class OtherScale(Scale):
    pass


def test_a_registered_layer_costs_what_it_says_for_every_loop_and_its_subclasses_too():
    model, plain = create_model("dr_resnet_digits"), create_model("dr_resnet_digits")
    block = next(module for module in model.modules() if isinstance(module, RecursiveBlock))
    block.body.conv1 = torch.nn.Sequential(Scale(), block.body.conv1)
    model.layer2.append(OtherScale())
    way_out = r"\(Scale\) holds .* of a layer of your own, say what it costs: drnn\.costs\.register\(Scale, macs\)"
    for count in (count_costs, count_params):
        with pytest.raises(ValueError, match=way_out):
            count(model)
    register(Scale, lambda layer, inputs, output: inputs[0].numel() + output.numel())
    assert count_params(model) == count_params(plain) + 2
    got, expected, loops = count_costs(model), count_costs(plain), block.num_loops
    size = 2 * 64 * 4 * 4  # of what comes in and goes out
    raised = [after - before for after, before in zip(got.loop_macs, expected.loop_macs, strict=True)]
    assert sorted(raised) == [0] * (len(raised) - loops) + [size] * loops
    assert got.fixed_macs == expected.fixed_macs + size
    register(OtherScale, lambda *_: 0)
    assert count_costs(model).fixed_macs == expected.fixed_macs


def test_only_layers_that_are_not_counted_yet_are_registered():
    with pytest.raises(TypeError, match="register a class of layers"):
        register(torch.nn.PReLU(), lambda *_: 0)
    with pytest.raises(ValueError, match="Conv2d received, which is counted already"):
        register(torch.nn.Conv2d, lambda *_: 0)


def test_a_weight_that_is_made_of_others_costs_what_its_layer_does():
    plain, made = create_model("dr_resnet_digits", width=4), create_model("dr_resnet_digits", width=4)
    torch.nn.utils.parametrizations.weight_norm(made.conv1)
    assert count_costs(made) == count_costs(plain)


@pytest.mark.parametrize(
    "make", [torch.nn.utils.parametrizations.spectral_norm, torch.nn.utils.parametrizations.orthogonal]
)
def test_a_weight_whose_making_keeps_numbers_costs_what_its_layer_does(make):
    plain, made = create_model("dr_resnet_digits", width=4), create_model("dr_resnet_digits", width=4)
    make(made.fc)
    assert count_costs(made) == count_costs(plain)


def test_hooks_do_not_see_what_is_counted():
    model, seen = create_model("dr_resnet_digits", width=4), []
    expected = count_costs(model)
    model.layer2.register_forward_hook(lambda module, given, found: seen.append(found.numpy()))
    model.layer2.register_forward_pre_hook(lambda module, given: seen.append(given[0].numpy()))
    with torch.no_grad():  # torch copies no weights that have a history
        torch.nn.utils.prune.l1_unstructured(model.fc, "weight", 0.5)
    assert count_costs(model) == expected
    assert seen == []


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated", "ignore:.*quantized tensor creation")
def test_a_quantised_layer_is_named():
    pytest.importorskip("torch.ao.quantization", reason="torch means to remove it")
    model = create_model("dr_resnet_digits").eval()
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(
        ValueError, match=r"gate\.scorer\.fc1 \(Linear\) is quantised; count the network that it was made of"
    ):
        count_costs(quantised)


def test_a_layer_of_ones_own_may_live_in_a_module_of_that_name():
    mine = type("Mine", (nn.Linear,), {"__module__": "theirs.quantized.layers"})
    register(mine, lambda layer, inputs, output: 5)
    model = create_model("resnet_digits")
    model.fc = mine(model.fc.in_features, 10)
    assert count_costs(model).max_macs == count_costs(create_model("resnet_digits")).max_macs - 10 * 64 + 5


def test_a_size_may_be_of_numpys_whole_numbers():
    model = create_model("resnet_digits")
    assert count_costs(model, tuple(np.array([1, 8, 8]))) == count_costs(model)


@pytest.mark.parametrize("size", [224, (224, 224), (3, 0, 224), (3, 2.5, 4), "abcd"])
def test_a_size_is_three_whole_numbers(size):
    with pytest.raises(ValueError, match=r"input_size .* for ResNet; give \(C, H, W\), three whole numbers"):
        count_costs(create_model("resnet_digits"), size)


class Mixing(torch.nn.Module):
    """Fully connected layers at every position, or over windows that stand in the first dimension."""

    def __init__(self, layer, windows):
        super().__init__()
        self.layer, self.windows = layer, windows

    def forward(self, x, loop=0, groups=None):
        if not self.windows:
            return x + self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        count, channels, height, width = x.shape
        y = x.view(count, channels, 2, height // 2, width).transpose(1, 2).reshape(-1, channels, height // 2, width)
        return x + self.layer(y).view(count, 2, channels, height // 2, width).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize(("layer", "windows"), [(nn.Linear(64, 64), False), (nn.Conv2d(64, 64, 1), True)])
def test_a_layer_that_runs_at_several_places_is_counted_at_each(layer, windows):
    model = create_model("dr_resnet_digits").eval()
    model.layer2[1].body = Mixing(layer, windows)
    set_thresholds(model, dict.fromkeys(gates_of(model), -torch.inf))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.input_size))
    assert counter.get_total_flops() == 2 * count_costs(model).max_macs


def test_a_block_inside_a_block_and_one_that_is_called_twice_are_named():
    model = create_model("dr_resnet_digits")
    model.layer2.append(model.layer2[1])
    with pytest.raises(ValueError, match=r"layer2\.1 received, which is called twice"):
        count_costs(model)
    model = create_model("dr_resnet_digits")
    inner = create_model("dr_resnet_digits").layer2[1]
    model.layer2[1].body = Mixing(inner, True)
    with pytest.raises(ValueError, match=r"layer2\.1\.body\.layer received, which loops inside layer2\.1, which"):
        count_costs(model)


class Crossed(nn.Module):
    """Its second block is called first."""

    def __init__(self, late, early):
        super().__init__()
        self.late, self.early = late, early

    def forward(self, x):
        return self.late(self.early(x))


def blocks_of(*loops):
    twins = [create_model("dr_resnet_digits", loops=(1, count)).layer2[1] for count in loops]
    return [RecursiveBlock(Mixing(nn.Conv2d(64, 64, 1 + 2 * number, padding=number), True), block.gate, block.num_loops)
            for number, block in enumerate(twins)]  # fmt: skip


def test_slots_are_in_the_order_of_calls_as_records_are():
    model, x = Crossed(*blocks_of(2, 3)).eval(), torch.randn(5, 64, 4, 4)
    costs = count_costs(model, (64, 4, 4))
    assert costs.slots == (3, 2)
    assert costs.loop_macs == (16 * 64 * 64 * 9,) * 3 + (16 * 64 * 64,) * 2
    with torch.no_grad(), collected() as records:
        model(x)
    assert [record.executed.shape[1] for record in records] == [3, 2]


def test_a_layer_that_two_blocks_share_counts_once_in_each():
    model = Crossed(*blocks_of(2, 3)).eval()
    model.late.body, model.late.gate = model.early.body, model.early.gate
    set_thresholds(model, dict.fromkeys(gates_of(model), -torch.inf))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 64, 4, 4))
    assert counter.get_total_flops() == 2 * count_costs(model, (64, 4, 4)).max_macs
