from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.orders.statistics import Bins, Groups, Numbers
from tasks.pooling import Quantile, edges_around, pool_groups, pool_numbers
from tasks.summarising import summarise

EDGES = (-10.0, -1.0, 0.0, 2.5, 4.0, 30.0)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0)
VALUES = st.one_of(st.floats(-50, 50), st.sampled_from([*EDGES, math.nan]))
DATA = st.lists(st.lists(VALUES, min_size=1, max_size=30), min_size=1, max_size=5)


def told(data: list[list[float]], least: int = 1) -> list[Numbers]:
    """What clients with these values tell."""
    columns = [summarise(values, EDGES, least) for values in data]
    return [column for column in columns if isinstance(column, Numbers)]


def pooled(data: list[list[float]]) -> pd.Series[float]:
    return pd.Series([value for values in data for value in values], dtype=float)


def present(data: list[list[float]]) -> list[float]:
    return sorted(pooled(data).dropna())


@given(DATA)
def test_counts_means_and_variances_are_those_of_the_pooled_data(data: list[list[float]]) -> None:
    columns = told(data)
    if not columns:
        return
    found, expected = pool_numbers(columns), pooled([values for values in data if not np.isnan(values).all()])
    assert (found.count, found.missing) == (expected.count(), expected.isna().sum())
    assert found.mean == pytest.approx(expected.mean(), rel=1e-12, abs=1e-12)
    if found.count == 1:
        assert found.variance is None
    else:
        assert found.variance == pytest.approx(expected.var(), rel=1e-9, abs=1e-12)


def test_a_variance_that_is_small_beside_its_mean_is_exact() -> None:
    # Given values around 1e9 that differ by ones, at two clients
    data = [[1e9 + 1, 1e9 + 2, 1e9 + 3], [1e9 + 4, 1e9 + 5]]
    # When they are pooled, then the variance is that of 1 to 5
    assert pool_numbers(told(data)).variance == 2.5


@given(DATA)
def test_histograms_are_those_of_the_pooled_data_where_nothing_is_merged(data: list[list[float]]) -> None:
    columns = told(data)
    if not columns:
        return
    histogram = pool_numbers(columns, EDGES).histogram
    assert histogram is not None
    assert histogram.num_spread == 0
    assert list(histogram.counts[1:-1]) == np.histogram(present(data), EDGES)[0].tolist()
    assert sum(histogram.counts) == len(present(data))


@given(DATA, st.integers(1, 6))
def test_a_quantile_lies_where_it_is_said_to_whatever_was_merged(data: list[list[float]], least: int) -> None:
    columns = told(data, least)
    if not columns:
        return
    values = present([each for each in data if np.isfinite(each).sum() >= least])
    for quantile in pool_numbers(columns, EDGES, SHARES).quantiles:
        expected = values[max(1, math.ceil(round(quantile.share * len(values), 9))) - 1]
        assert quantile.low is None or quantile.low <= expected
        assert quantile.high is None or expected <= quantile.high
        if quantile.value is not None and quantile.low is not None and quantile.high is not None:
            assert quantile.low <= quantile.value <= quantile.high
            assert abs(quantile.value - expected) <= quantile.high - quantile.low


def test_a_quantile_is_interpolated_in_its_cell() -> None:
    # Given ten values from 0 to 10 and ten from 10 to 30, when the median is told, then it is the tenth, at 10,
    column = Numbers(count=20, missing=0, mean=9.0, squares=1.0, bins=Bins(starts=(0, 1, 2, 3), counts=(0, 10, 10, 0)))
    # And the 0.75-quantile the fifteenth: half of the second cell
    assert pool_numbers([column], (0.0, 10.0, 30.0), (0.5, 0.75)).quantiles == (
        Quantile(share=0.5, value=10.0, low=0.0, high=10.0),
        Quantile(share=0.75, value=20.0, low=10.0, high=30.0),
    )


def test_a_quantile_outside_the_edges_has_no_value() -> None:
    column = Numbers(count=20, missing=0, mean=9.0, squares=1.0, bins=Bins(starts=(0, 1, 2), counts=(10, 0, 10)))
    assert pool_numbers([column], (0.0, 10.0), (0.25, 0.75)).quantiles == (
        Quantile(share=0.25, value=None, low=None, high=0.0),
        Quantile(share=0.75, value=None, low=10.0, high=None),
    )


def test_values_of_a_merged_bin_are_spread_as_a_normal_distribution_is() -> None:
    # Given a client of mean 0 and variance 1 that tells of everything as one bin
    column = Numbers(count=1000, missing=0, mean=0.0, squares=999.0, bins=Bins(starts=(0,), counts=(1000,)))
    # When it is told of, then 68.27 % are within a deviation of the mean
    histogram = pool_numbers([column], (-1.0, 1.0)).histogram
    assert histogram is not None
    assert histogram.counts == pytest.approx((158.7, 682.7, 158.7), abs=0.1)
    assert histogram.num_spread == 1000


def test_merged_cells_of_small_clients_come_near_the_pooled_histogram() -> None:
    # Given fifty clients with forty values each of one skewed distribution, who merge all cells of fewer than ten
    rng, edges = np.random.default_rng(5), (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)
    data = [rng.gamma(2.0, 1.0, 40) for _ in range(50)]
    columns = [column for values in data if isinstance(column := summarise(values, edges, 10), Numbers)]
    # When they are pooled, then each cell is within four in a hundred values of what it is
    histogram = pool_numbers(columns, edges).histogram
    assert histogram is not None
    assert histogram.num_spread > 500
    expected = np.histogram(np.concatenate(data), edges)[0]
    assert np.abs(np.array(histogram.counts[1:-1]) - expected).max() < 0.04 * 2000


def test_groups_are_added_up_the_most_frequent_first() -> None:
    columns = [
        Groups(count=30, missing=1, groups={"a": 10, "b": 12}, other=8),
        Groups(count=20, missing=2, groups={"c": 15}, other=5),
        Groups(count=11, missing=0, groups={"a": 11}, other=0),
    ]
    found = pool_groups(columns)
    assert (found.num_clients, found.count, found.missing, found.other) == (3, 61, 3, 13)
    assert list(found.groups.items()) == [("a", 21), ("c", 15), ("b", 12)]


@pytest.mark.parametrize(
    ("mean", "variance", "edges"),
    [
        (10.0, 4.0, (4.0, 7.0, 10.0, 13.0, 16.0)),
        (5.0, 0.0, (4.5, 4.75, 5.0, 5.25, 5.5)),
        (5.0, None, (4.5, 4.75, 5.0, 5.25, 5.5)),
        (1 / 3, 1e-6, (0.33033, 0.33183, 0.33333, 0.33483, 0.33633)),
    ],
)
def test_edges_reach_three_deviations_from_the_mean(
    mean: float, variance: float | None, edges: tuple[float, ...]
) -> None:
    assert edges_around(mean, variance, 4) == pytest.approx(edges, abs=1e-12)


@given(st.floats(-1e100, 1e100), st.one_of(st.none(), st.floats(0, 1e205)), st.integers(1, 1000))
def test_edges_always_ascend(mean: float, variance: float | None, num_bins: int) -> None:
    edges = edges_around(mean, variance, num_bins)
    assert len(edges) == num_bins + 1
    assert all(low < high for low, high in itertools.pairwise(edges))
