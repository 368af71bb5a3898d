"""Ways of deciding of one's own go into files; what decides by lot is still refused."""

import pytest
from torch import nn

from drnn import export_onnx, load_onnx
from drnn.core import Deterministic, GateDecision, gates_of
from drnn.export.verify import varied_images

from .small import assert_equals_eager, small_network


class Tempered(Deterministic):
    """At a temperature, and about another middle than 0."""

    def __init__(self, middle):
        super().__init__()
        self.middle = middle

    def disturb(self, margin):
        return (margin - self.middle) / 5


class Plain(nn.Module):
    """Any module may decide; this one says nothing of lots."""

    def __init__(self, middle):
        super().__init__()
        self.middle = middle

    def forward(self, scores):
        margin = scores[:, 1] - scores[:, 0]
        return GateDecision(margin, self.middle - margin)


def decided_by(decide, images):
    """A network whose gate's margins, all on one side of 0, are divided by that way of deciding."""
    model = small_network()
    (gate,) = gates_of(model).values()
    margins = []
    hook = gate.register_forward_hook(lambda gate, x, answer: margins.append(answer.margin))
    model(images)
    hook.remove()
    assert not margins[0].lt(0).any()
    gate.decide = decide(float(margins[0].detach().median()))
    return model, gate


@pytest.fixture
def images():
    return varied_images(32, small_network().input_size)


@pytest.mark.parametrize("decide", [Tempered, Plain])
def test_a_file_decides_as_the_network_does(decide, images, tmp_path):
    model, _ = decided_by(decide, images)
    export_onnx(model, tmp_path / "net.onnx")
    loops = assert_equals_eager(load_onnx(tmp_path / "net.onnx"), model, images)
    assert len({*loops.ravel().tolist()}) > 1


def test_a_threshold_moves_the_margin_that_decides(images, tmp_path):
    model, gate = decided_by(Tempered, images)
    gate.threshold.fill_(0.05)
    export_onnx(model, tmp_path / "net.onnx")
    loops = assert_equals_eager(load_onnx(tmp_path / "net.onnx"), model, images)
    gate.threshold.fill_(0.0)
    assert loops.sum() < model.forward_with_gates(images)[1].executed.sum()
