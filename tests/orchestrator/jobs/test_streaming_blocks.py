from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import blocks
from celeriac.aggregators.blocks import Add, add_block
from celeriac.aggregators.kernel import LARGE_BYTES, TILE, adder
from celeriac.aggregators.mean import BLOCK
from orchestrator.jobs.streaming_mean import put_quotients, put_sums
from tests.celeriac.aggregators.numbers import any_bits, by_definition

FLOAT32 = np.dtype(np.float32)
each_adder = pytest.mark.parametrize("add", [adder(FLOAT32, LARGE_BYTES), add_block], ids=["kernel", "numpy"])


@each_adder
@given(
    length=st.one_of(st.integers(0, 3 * TILE), st.just(BLOCK + TILE + 5)),
    is_first=st.booleans(),
    is_in_place=st.booleans(),
    num_threads=st.sampled_from([1, 5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_those_before_and_the_updates_in_their_order(
    add: Add, length: int, is_first: bool, is_in_place: bool, num_threads: int, seed: int
) -> None:
    # Given sums, or none yet
    updates, weights = [any_bits(FLOAT32, length, seed + k) for k in range(3)], [3.0, -7.5, 1.1]
    before = np.zeros(length) if is_first else np.random.default_rng(seed).standard_normal(length)
    expected = by_definition(before, updates, weights)
    sums = before if is_in_place else np.full(length, np.nan)
    # When updates are added in parts of 1,000 bytes by some threads, in place or not, then the sums are by definition
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(num_threads) as threads:
        patch.setattr(blocks, "PART_BYTES", 1000)
        put_sums(sums, None if is_first else before, updates, weights, add, threads)
        assert sums.tobytes() == expected.tobytes()
        # And so are their quotients, rounded once
        means = np.empty(length, FLOAT32)
        with np.errstate(over="ignore"):
            put_quotients(means, None, sums, 21.5, threads)
            assert means.tobytes() == (expected / 21.5).astype(FLOAT32).tobytes()
            # And those of the sum of two groups
            put_quotients(means, expected[::-1], sums, 21.5, threads)
            assert means.tobytes() == ((expected[::-1] + expected) / 21.5).astype(FLOAT32).tobytes()
