"""Gates of the deployment form: the same margins in fewer calls, and a threshold to turn."""

import pytest
import torch

import drnn
from drnn.core import gates_of
from drnn.inference.folded_gate import FoldedGate

from .networks import OperationCounter, assert_equal, pictures, small


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2"])
def test_gates_take_fewer_calls_and_keep_their_dial(name):
    model = small(name)
    fast = drnn.optimize(model)
    assert {type(gate) for gate in gates_of(fast).values()} == {FoldedGate}
    x = pictures(5, model.input_size)
    plain, folded = next(iter(gates_of(model).values())), next(iter(gates_of(fast).values()))
    maps = torch.randn(7, plain.scorer.get_submodule("fc1" if "digits" in name else "fc").in_features, 3, 4)
    assert_equal(folded(maps).margin, plain(maps).margin)
    with OperationCounter() as few, torch.inference_mode():
        folded(maps)
    with OperationCounter() as many, torch.inference_mode():
        plain(maps)
    assert few.count < many.count
    folded.threshold.fill_(0.3)
    assert_equal(folded(maps).deciding_margin, plain(maps).margin - 0.3)
    assert float(plain.threshold) == 0.0
    for gate in gates_of(fast).values():
        gate.threshold.fill_(torch.inf)
    assert fast.forward_with_gates(x)[1].executed.sum() == 0
