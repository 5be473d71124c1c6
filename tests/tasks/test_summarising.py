from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.orders.statistics import Bins, Groups, Numbers
from tasks.summarising import count_cells, merge_cells, merge_groups, summarise

NAN = float("nan")


def test_numbers_are_told_by_count_mean_and_squares() -> None:
    # Given 2, 4, 6 and 8, whose mean is 5: 9 + 1 + 1 + 9 = 20
    assert summarise([2, 4, 6, 8], None, least=1) == Numbers(count=4, missing=0, mean=5.0, squares=20.0)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, NAN, 3.0, NAN],
        [1.0, None, 3.0, None],
        np.ma.array([1, 9, 3, 9], mask=[False, True, False, True]),
        np.ma.array([1.0, NAN, 3.0, 9.0], mask=[False, False, False, True]),
        np.array([1.0, np.inf, 3.0, -np.inf], np.float32),
        pd.Series([1, pd.NA, 3, pd.NA], dtype="Int64"),
        pd.Series([1, None, 3, None]),
        np.array([1, None, np.float64(3), NAN], dtype=object),
    ],
)
def test_whatever_is_missing_is_counted_as_missing_and_nothing_else(values: Any) -> None:
    assert summarise(values, None, least=1) == Numbers(count=2, missing=2, mean=2.0, squares=2.0)


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", None, "a"],
        np.ma.array(["a", "b", "x", "a"], mask=[False, False, True, False]),
        pd.Series(["a", "b", None, "a"]),
        pd.Series(["a", "b", None, "a"], dtype="category"),
        np.array(["a", "b", NAN, "a"], dtype=object),
    ],
)
def test_names_are_counted_a_group(values: Any) -> None:
    assert summarise(values, None, least=1) == Groups(count=3, missing=1, groups={"a": 2, "b": 1}, other=0)


def test_truth_values_are_names() -> None:
    assert summarise([True, False, True], None, least=1) == Groups(
        count=3, missing=0, groups={"True": 2, "False": 1}, other=0
    )


def test_cells_are_those_of_the_edges_the_last_with_its_upper_edge() -> None:
    # Given edges 0, 10, 20: below, two between, above
    values = np.array([-1.0, 0.0, 9.9, 10.0, 20.0, 20.1])
    assert count_cells(values, (0.0, 10.0, 20.0)) == [1, 2, 2, 1]


@given(st.lists(st.floats(-5, 25), min_size=1), st.lists(st.integers(0, 20), min_size=2, max_size=6, unique=True))
def test_the_cells_between_edges_are_numpys_histogram(values: list[float], edges: list[int]) -> None:
    edges.sort()
    counts = count_cells(np.array(values), edges)
    assert counts[1:-1] == np.histogram(values, edges)[0].tolist()
    assert counts[0] == sum(value < edges[0] for value in values)
    assert counts[-1] == sum(value > edges[-1] for value in values)


@pytest.mark.parametrize(
    ("counts", "starts", "merged"),
    [
        ([10, 11, 12], (0, 1, 2), (10, 11, 12)),  # nothing to merge
        ([0, 10, 11, 0], (0, 1, 2, 3), (0, 10, 11, 0)),  # nobody outside
        ([4, 8, 10], (0, 2), (12, 10)),  # the first with the second
        ([10, 10, 4], (0, 1), (10, 14)),  # the last with the one before
        ([10, 0, 4], (0,), (14,)),  # and with what lies between
        ([0, 0, 10, 0, 0, 0], (0, 1, 5), (0, 10, 0)),  # where between the edges they are isn't told
        ([4, 0, 0, 12], (0,), (16,)),
        ([4, 3, 3], (0,), (10,)),
    ],
)
def test_cells_of_too_few_are_merged_with_their_neighbours(
    counts: list[int], starts: tuple[int, ...], merged: tuple[int, ...]
) -> None:
    assert merge_cells(counts, 10) == Bins(starts=starts, counts=merged)


@given(st.lists(st.integers(0, 30), min_size=3, max_size=20), st.integers(1, 20))
def test_every_bin_is_of_enough_and_none_is_lost(counts: list[int], least: int) -> None:
    assume(sum(counts) >= least)
    bins = merge_cells(counts, least)
    told = dict(zip(bins.starts, bins.counts, strict=True))
    assert sum(told.values()) == sum(counts)
    assert least == 1 or {start for start, count in told.items() if count < least} <= {0, len(counts) - 1}
    assert all(count == 0 or count >= least for count in told.values())
    if least == 1 or all(count >= least for count in counts):
        assert bins.counts == tuple(counts)


@pytest.mark.parametrize(
    ("counts", "groups", "other"),
    [
        ({"a": 10, "b": 12}, {"a": 10, "b": 12}, 0),
        ({"a": 100, "b": 4, "c": 6}, {"a": 100}, 10),
        ({"a": 100, "b": 40, "c": 6}, {"a": 100}, 46),  # six others would be too few: b goes with them
        ({"a": 100, "b": 3}, {}, 103),
    ],
)
def test_groups_of_too_few_are_others_and_these_are_enough(
    counts: dict[str, int], groups: dict[str, int], other: int
) -> None:
    assert merge_groups(counts, 10) == (groups, other)


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 30)), st.integers(1, 20))
def test_every_group_is_of_enough_and_so_are_the_others(counts: dict[str, int], least: int) -> None:
    assume(sum(counts.values()) >= least)
    groups, other = merge_groups(counts, least)
    assert Counter(groups) <= Counter(counts)
    assert sum(groups.values()) + other == sum(counts.values())
    assert all(count >= least for count in groups.values())
    assert other == 0 or other >= least
