from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.workload import Part
from workloads.splits import client_split, hold_out
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


def test_clients_share_no_example_not_even_one_for_testing() -> None:
    # Given 103 examples and four clients
    labels = np.arange(103) % 10
    splits = [client_split(labels, Part(index, 4), seed=5) for index in range(4)]
    # When all that they train and test on is put together
    everything = np.concatenate([rows for split in splits for rows in split])
    # Then it is each example once
    assert sorted(everything.tolist()) == list(range(103))
    assert [len(test) for _, test in splits] == [3, 3, 3, 2]
