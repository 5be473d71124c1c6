"""Weightings against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import UpdateInfo, Weights
from orchestrator.aggregation import WeightedUpdate, move
from orchestrator.aggregators.mean import weighted_mean
from orchestrator.weighting import by_examples, by_steps


def info(num_examples: int, num_steps: int) -> UpdateInfo:
    return UpdateInfo("anna", num_examples, num_steps)


def test_by_examples_steps_make_no_difference() -> None:
    # Given a client that did a tenth of the other's steps, when weighed by examples, then it counts all the same
    assert by_examples([info(30, 1), info(10, 10)], Weights([30.0, 10.0])) == Weights([30.0, 10.0], 1.0)


def test_by_steps_the_model_moves_as_fednova_says() -> None:
    # Given a model at 1, and clients with 30 and 10 examples that moved to 2 in one step, and to 6 in five
    updates = [info(30, 1), info(10, 5)]
    start = {"x": np.array([1.0], np.float32)}
    ends = [{"x": np.array([2.0], np.float32)}, {"x": np.array([6.0], np.float32)}]

    # When they are normalised by their steps
    weights = by_steps(updates, Weights([30.0, 10.0]))
    mean = weighted_mean([WeightedUpdate(end, weight) for end, weight in zip(ends, weights.weights, strict=True)])
    moved = move(start, mean, weights.scale)

    # Then each moved by 1 a step; tau_eff = 0.75 * 1 + 0.25 * 5 = 2 steps of 1: the model is at 3
    assert weights.weights == [30.0, 2.0]
    assert weights.scale == pytest.approx(2 * 32 / 40)
    assert moved["x"].tolist() == [3.0]
    assert moved["x"].dtype == np.float32


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(-10, 10)), min_size=1, max_size=6), st.integers(1, 50))
def test_with_equal_steps_it_is_fedavg(clients: list[tuple[int, float]], num_steps: int) -> None:
    # Given clients that did the same number of steps
    updates = [info(examples, num_steps) for examples, _ in clients]
    examples = [float(count) for count, _ in clients]
    ends = [{"x": np.array([value])} for _, value in clients]
    start = {"x": np.array([0.5])}

    # When weighed both ways
    results = []
    for weighting in (by_examples, by_steps):
        weights = weighting(updates, Weights(examples))
        mean = weighted_mean([WeightedUpdate(end, weight) for end, weight in zip(ends, weights.weights, strict=True)])
        results.append(move(start, mean, weights.scale)["x"])

    # Then the model moves to the same place
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_counters_are_not_moved_beyond_the_mean() -> None:
    # Given a counter beside the parameters, when the model moves twice as far, then the counter doesn't
    moved = move({"n": np.array(3)}, {"n": np.array(5)}, 2.0)
    assert moved["n"] == 5
