"""What an optimised copy could not compute is refused: layers of one's own, and hooks."""

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from drnn import create_model, optimize
from drnn.core import LVBN2d
from drnn.models.parts import NORMS


class CentredConv(nn.Conv2d):
    """Weights without their mean."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class HalfNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) / 2


class ScaledLVBN(LVBN2d):
    def forward(self, x, loop=0, groups=None):
        return super().forward(x, loop, groups) * 3


class NamedConv(nn.Conv2d):
    """Computes as every convolution."""

    def reset_parameters(self):
        nn.init.normal_(self.weight)


def network():
    torch.manual_seed(0)
    return create_model("dr_resnet_digits", width=4).eval()


def replaced(layer):
    model = network()
    body = model.layer2[1].body
    body.conv1 = layer(8, 8, 3, padding=1, bias=False)
    return model


def hooked(where):
    model = network()
    model.get_submodule(where).register_forward_hook(lambda *_: None)
    return model


def with_stem_norm():
    model = network()
    model.bn1 = HalfNorm(4)
    return model


def pruned():
    model = network()
    nn.utils.prune.l1_unstructured(model.layer2[1].body.conv1, "weight", 0.5)
    return model


def with_a_forward_of_its_own():
    model = network()
    model.layer1[0].conv1.forward = lambda x: x
    return model


def with_norms_of_its_own():
    NORMS["scaled"] = ScaledLVBN
    try:
        return create_model("dr_resnet_digits", width=4, norm="scaled").eval()
    finally:
        del NORMS["scaled"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replaced(CentredConv), r"layer2\.1\.body\.conv1 is a CentredConv that may compute otherwise"),
        (with_stem_norm, "bn1 is a HalfNorm that may"),
        (with_a_forward_of_its_own, r"layer1\.0\.conv1 is a Conv2d that may"),
        (with_norms_of_its_own, r"layer2\.1\.body\.bn1 is a ScaledLVBN that may"),
        (lambda: hooked("layer2.1.body.bn1"), r"layer2\.1\.body\.bn1 \(ILVBN2d\) has forward hooks, which the"),
        (lambda: hooked("layer2.1.gate"), r"layer2\.1\.gate \(Gate\) has forward hooks, which the"),
        (pruned, r"layer2\.1\.body\.conv1 \(Conv2d\) has forward hooks.*torch\.nn\.utils\.prune\.remove"),
        (lambda: hooked("conv1"), r"conv1 \(Conv2d\) has forward hooks, which the"),
    ],
)
def test_what_the_copy_would_not_do_is_refused(make, said):
    model = make()
    with pytest.raises(ValueError, match=said):
        optimize(model)


@pytest.mark.parametrize("spoil", [lambda m: m.layer1.register_forward_hook(lambda *_: None), lambda _: None])
def test_what_it_does_alike_is_folded(spoil):
    """A class that adds nothing, a weight that another layer makes, and hooks on what stays."""
    model = replaced(NamedConv)
    nn.utils.parametrizations.weight_norm(model.layer2[1].body.conv2)
    spoil(model)
    x = torch.randn(3, *model.input_size)
    with torch.no_grad():
        torch.testing.assert_close(optimize(model)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "said"),
    [
        (nn.BatchNorm2d(4, affine=False), "affine=False.* has not all of them"),
        (nn.BatchNorm2d(4, track_running_stats=False), "track_running_stats=False.* has not all of them"),
    ],
)
def test_norms_without_what_is_folded_are_named(norm, said):
    model = network()
    model.bn1 = norm.eval()
    with pytest.raises(ValueError, match=said):
        optimize(model)
    model = network()
    model.conv1 = nn.Sequential(model.conv1)
    with pytest.raises(ValueError, match="Sequential received; only a Conv2d takes a norm in"):
        optimize(model)


@pytest.mark.filterwarnings("ignore")  # by torch, which moves quantisation elsewhere
def test_gates_of_a_quantised_network_stay_as_they_are():
    model = create_model("dr_resnet_digits").eval()
    x = torch.randn(4, 1, 8, 8)
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    torch.testing.assert_close(optimize(quantised)(x), quantised(x), rtol=0, atol=1e-4)
