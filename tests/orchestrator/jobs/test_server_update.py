from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import WeightedUpdate
from celeriac.aggregators.mean import weighted_mean
from celeriac.algorithms import UpdateInfo, Weights
from celeriac.algorithms.fednova import normalise
from orchestrator.jobs.server_update import move, next_model
from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.jobs.rounds import WITH_BUFFERS, Part, folder_in, part
from tests.support import job_of


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


def moved(folder: RunFolder, *parts: Part) -> dict[str, list[float]]:
    """The model that round 1 ends with, of these updates."""
    model, _ = next_model(job_of(folder), dict(sorted(parts)))
    return {name: values.tolist() for name, values in model.items()}


def test_updates_are_weighed_by_examples(tmp_path: Path) -> None:
    # Given updates of 1 and of 3 examples, when the model is made, then it is their mean, weighed so
    folder = folder_in(tmp_path)
    model = moved(folder, part(folder, "anna", [4, 0, 0], num_examples=1), part(folder, "bert", [8, 4, 0], 3))
    assert model["point"] == [7.0, 3.0, 0.0]


def test_the_algorithms_own_step_comes_after_the_mean(tmp_path: Path) -> None:
    # Given FedAvgM, whose server learns half as fast, when the model is made, then it goes half of the way
    folder = folder_in(tmp_path, algorithm="fedavgm", settings={"server_learning_rate": 0.5, "momentum": 0.0})
    assert moved(folder, part(folder, "anna", [4, 2, 0]))["point"] == [2.0, 1.0, 0.0]


def test_steps_beyond_what_the_options_allow_move_the_model_no_further(tmp_path: Path) -> None:
    # Given two that did five steps with five examples, of which one claims ten thousand, as steps are normalised by
    options = {"epochs": 1, "batch_size": 1}
    ends = []
    for claimed in (5, 10_000):
        folder = folder_in(tmp_path / str(claimed), weighting="steps", options=options)
        parts = (part(folder, "anna", [1, 0, 0], num_steps=5), part(folder, "bert", [3, 0, 0], num_steps=claimed))
        # When the model is made
        ends.append(moved(folder, *parts)["point"])
    # Then it is as if that one had said the truth
    assert ends[0] == ends[1] == [2.0, 0.0, 0.0]


def test_buffers_are_the_means_wherever_the_algorithm_takes_the_model(tmp_path: Path) -> None:
    # Given running statistics, and a server that doesn't move what is trained
    settings = {"server_learning_rate": 0.0, "momentum": 0.0}
    folder = folder_in(tmp_path, workload=WITH_BUFFERS, algorithm="fedavgm", settings=settings)
    # When the model is made of an update with 5 in its statistics, then they alone are new
    assert moved(folder, part(folder, "anna", [4, 2, 0])) == {"point": [0.0, 0.0, 0.0], "steps": 5}
