"""How networks that record are made, by `drnn.optimize` or of an optimised one, and what is refused."""

import pytest
import torch

import drnn
from drnn.bench.subjects import build
from drnn.budgets import apply_budget
from drnn.core import gates_of
from drnn.inference.captured import CapturedNetwork
from drnn.inference.optimize import refuse_capture

from .networks import pictures, small


@pytest.mark.parametrize("count", [1, 3])
def test_made_in_inference_mode_its_thresholds_and_weights_still_move(count):
    """`optimize` times networks in inference mode, which makes tensors that may not be changed outside it."""
    model, x = small("dr_resnet_digits", "cpu"), pictures(count, (1, 8, 8))
    with torch.inference_mode():
        networks = [CapturedNetwork(drnn.optimize(model, mask=mask)) for mask in (None, False, True)]
    for network in networks:
        network.rehearse(x[:1])
        network.load_state_dict(network.state_dict())
        apply_budget(network, dict.fromkeys(gates_of(model), torch.inf))
        assert not network.forward_with_gates(x)[1].executed.any()


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [None, True, False])
def test_optimize_makes_one_and_records_for_an_example(channels_last, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, x = small("dr_resnet16_cifar", "cuda"), pictures(4, (3, 32, 32)).cuda()
    fast = drnn.optimize(model, x[:1], channels_last, capture=True)
    made = dict(fast.recordings.made)
    for image in x.split(1):
        torch.testing.assert_close(fast(image), model(image), rtol=0, atol=1e-4)
    assert fast.recordings.made == made
    assert made
    assert isinstance(build("dr_resnet_digits", "captured", 0, "cuda"), CapturedNetwork)


def test_what_cannot_be_is_refused():
    model = drnn.create_model("dr_resnet_digits").eval()
    with pytest.raises(ValueError, match="capture=True received for a network on cpu"):
        drnn.optimize(model, capture=True)
    with pytest.raises(ValueError, match="choose one of them"):
        refuse_capture(torch.device("cuda"), compile=True)
    with pytest.raises(ValueError, match="captured already"):
        drnn.optimize(CapturedNetwork(drnn.optimize(model)))
