from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from workloads.splits.iid import iid_parts

SEEDS = st.integers(min_value=0, max_value=2**63 - 1)
SIZES = st.integers(min_value=1, max_value=200)


@given(num_examples=SIZES, data=st.data(), seed=SEEDS)
def test_every_example_is_in_exactly_one_part_and_sizes_differ_by_at_most_one(
    num_examples: int, data: st.DataObject, seed: int
) -> None:
    # Given any number of parts that the examples suffice for
    num_parts = data.draw(st.integers(min_value=1, max_value=num_examples))
    # When they are dealt out
    parts = iid_parts(num_examples, num_parts, seed)
    # Then nothing is lost or doubled, and nobody has two more than another
    assert len(parts) == num_parts
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_examples))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


def test_ten_examples_in_three_parts_are_four_three_and_three() -> None:
    # Given ten examples, when they are dealt to three
    sizes = [len(part) for part in iid_parts(10, 3, seed=1)]
    # Then the larger part comes first
    assert sizes == [4, 3, 3]


def test_equal_seeds_give_equal_parts_and_others_give_others() -> None:
    # Given two seeds
    once, again, other = (iid_parts(100, 2, seed) for seed in (1, 1, 2))
    # Then the parts depend on the seed alone
    assert once[0].tolist() == again[0].tolist()
    assert once[0].tolist() != other[0].tolist()


@pytest.mark.parametrize(("num_examples", "num_parts"), [(3, 4), (0, 1), (5, 0)])
def test_empty_parts_are_refused_with_both_numbers(num_examples: int, num_parts: int) -> None:
    # Given more parts than examples, or no part, when they are dealt out, then the message says what was asked for
    with pytest.raises(ConfigurationError, match=f"{num_examples} examples can't be split into {num_parts} parts"):
        iid_parts(num_examples, num_parts, seed=1)
