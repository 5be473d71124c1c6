from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import WeightedUpdate
from celeriac.aggregators.mean import weighted_mean
from celeriac.algorithms import UpdateInfo, Weights
from celeriac.algorithms.fednova import normalise
from orchestrator.jobs.server_update import move


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(-10, 10)), min_size=1, max_size=6), st.integers(1, 50))
def test_with_equal_steps_it_is_fedavg(clients: list[tuple[int, float]], num_steps: int) -> None:
    # Given clients that did the same number of steps
    updates = [UpdateInfo("anna", examples, num_steps) for examples, _ in clients]
    examples = [float(count) for count, _ in clients]
    ends = [{"x": np.array([value])} for _, value in clients]
    start = {"x": np.array([0.5])}

    # When they are weighed by examples, and normalised by steps
    results = []
    for weights in (Weights(examples), normalise(updates, Weights(examples))):
        mean = weighted_mean([WeightedUpdate(end, weight) for end, weight in zip(ends, weights.weights, strict=True)])
        results.append(move(start, mean, weights.scale)["x"])

    # Then the model moves to the same place
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_counters_are_not_moved_beyond_the_mean() -> None:
    # Given a counter beside the parameters, when the model moves twice as far, then the counter doesn't
    moved = move({"n": np.array(3)}, {"n": np.array(5)}, 2.0)
    assert moved["n"] == 5
