"""torch's own tracers record the calls of one example; the gates of other images still decide in what they record."""

import pytest
import torch

import drnn

from .networks import pictures, small


@pytest.fixture(
    scope="module", params=[{}, {"residual": "aig", "loops": (1, 1), "blocks": (1, 3)}], ids=["loops", "aig"]
)
def model(request):
    """One that loops, and ConvNet-AIG with gates that do not draw lots."""
    return small("dr_resnet_digits", **request.param)


@pytest.fixture(scope="module")
def x(model):
    x = pictures(8, model.input_size)
    assert len(model.forward_with_gates(x)[1].executed.unique(dim=0)) > 1
    return x


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace.*")
@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_a_traced_network_answers_as_the_network_for_other_images(optimised, count, model, x):
    network = drnn.optimize(model) if optimised else model
    with torch.no_grad():
        traced = torch.jit.trace(network, x[:count])
        for images in (x, x[5:6]):
            torch.testing.assert_close(traced(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("optimised", "strict"), [(False, False), (False, True), (True, False)])
def test_so_does_an_exported_program(optimised, strict, model, x):
    network, batch = drnn.optimize(model) if optimised else model, torch.export.Dim("batch")
    program = torch.export.export(network, (x[:3],), dynamic_shapes=({0: batch},), strict=strict).module()
    with torch.no_grad():
        for images in (x, x[5:7]):
            torch.testing.assert_close(program(images), model(images), rtol=1e-4, atol=1e-4)
