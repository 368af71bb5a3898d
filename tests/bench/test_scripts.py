"""Scripts of loops: rates and totals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn import create_model
from drnn.bench import script_by_rate, script_by_total
from drnn.costs import count_costs


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0, 1), seed=st.integers(0, 9))
def test_rates_are_conditional(rate, seed):
    loops = script_by_rate((3, 3, 2), rate, 4000, seed).loops
    expected = [rate + rate**2 + rate**3] * 2 + [rate + rate**2]
    torch.testing.assert_close(loops.double().mean(0), torch.tensor(expected).double(), rtol=0, atol=0.12)
    assert (loops <= torch.tensor([3, 3, 2])).all()


def test_totals_have_figure_8s_mean_and_spread():
    slots = count_costs(create_model("dr_resnet53")).slots
    script = script_by_total(slots, 11.74, 1.50, 2000, 0.7)
    assert float(script.totals.double().mean()) == pytest.approx(11.74, abs=0.001)
    assert float(script.totals.double().std()) == pytest.approx(1.5, abs=0.1)
    with pytest.raises(ValueError, match="these blocks loop 0 to 23 times"):
        script_by_total(slots, 24, 1, 5, 0.7)
