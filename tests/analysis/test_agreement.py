"""Agreement of the loops of several runs, and the rank correlation under it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from drnn.analysis.agreement import rank_correlation, seed_agreement

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_rank_correlation_equals_scipys(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(rank_correlation(first, second))
    else:
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_agreement_of_a_run_with_itself_is_one():
    loops = np.array([0, 1, 1, 2, 3] * 10)
    (pair,) = seed_agreement([loops, loops])
    assert pair == {"first": 0, "second": 1, "correlation": 1.0, "low": 1.0, "high": 1.0}
    with pytest.raises(ValueError, match="evaluate all runs on the same images"):
        seed_agreement([loops, loops[:3]])
