from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.workloads.splits import hold_out
from tasks.errors import ConfigurationError

SEEDS = st.integers(min_value=0, max_value=2**63 - 1)
SIZES = st.integers(min_value=1, max_value=200)


@given(num_examples=SIZES, share=st.floats(min_value=0.01, max_value=0.99), seed=SEEDS)
def test_holding_out_loses_nothing_and_never_takes_all(num_examples: int, share: float, seed: int) -> None:
    # Given the indices 10, 11, …
    indices = np.arange(10, 10 + num_examples, dtype=np.int64)
    # When a share is held out
    train, test = hold_out(indices, share, seed)
    # Then the two make the whole, and training has something
    assert sorted([*train.tolist(), *test.tolist()]) == indices.tolist()
    assert len(train) >= 1
    assert len(test) >= 1 or num_examples == 1
    assert train.dtype == test.dtype == np.int64


@pytest.mark.parametrize(("num_examples", "num_test"), [(1, 0), (2, 1), (3, 1), (14, 1), (16, 2), (100, 10)])
def test_a_tenth_is_rounded_but_is_at_least_one_of_two(num_examples: int, num_test: int) -> None:
    # Given few examples, when a tenth is held out
    train, test = hold_out(np.arange(num_examples, dtype=np.int64), 0.1, seed=1)
    # Then it is as many
    assert (len(train), len(test)) == (num_examples - num_test, num_test)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    # Given such a share, when it is held out, then that is an error
    with pytest.raises(ConfigurationError, match="over 0 and under 1"):
        hold_out(np.arange(10, dtype=np.int64), share, seed=1)


def test_holding_out_of_nothing_is_refused() -> None:
    # Given no examples, when a share of them is held out, then that is an error
    with pytest.raises(ConfigurationError, match="at least one"):
        hold_out(np.array([], dtype=np.int64), 0.1, seed=1)
