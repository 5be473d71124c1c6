from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.arrays import Arrays
from tasks.context import Context, TimeBudget
from tasks.messages import TrainOptions
from tasks.workload import DataSource, Part, Workload, load_workload

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "numpy"


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch) -> Workload:
    """The workload, found as a user's is: by the folder one stands in."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(FOLDER)
    return load_workload("study:Study")


def endless() -> TimeBudget:
    return TimeBudget(math.inf)


def test_it_does_without_torch() -> None:
    # Given a fresh interpreter in the example's folder
    code = f"import sys; sys.path.append({str(ROOT)!r}); import study; print('torch' in sys.modules)"
    # When the workload is imported
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    # Then torch is not
    assert done.stdout.strip() == "False"


def test_zero_weights_know_nothing(workload: Workload) -> None:
    # Given weights of zero: each of six classes has probability 1/6
    parameters: Arrays = {"weights": np.zeros((2, 6), np.float32), "bias": np.zeros(6, np.float32)}
    # When they are evaluated
    evaluation = workload.evaluate(parameters, workload.holdout_data(None), Context())
    # Then the loss is ln 6
    assert evaluation.loss == pytest.approx(math.log(6), rel=1e-5)
    assert evaluation.num_examples == 1_200


def test_averaging_two_clients_over_five_rounds_learns_the_six_classes(workload: Workload) -> None:
    # Given two clients with points of their own
    clients = [workload.client_data(DataSource(part=Part(index, 2))) for index in range(2)]
    assert not np.array_equal(clients[0].train[0], clients[1].train[0])
    parameters = workload.initial_parameters(Context(seed=1))
    # When five rounds of FedAvg are done by hand
    for round_number in range(1, 6):
        one, two = (
            workload.train(
                parameters, data.train, Context(options=TrainOptions(), seed=round_number, budget=endless())
            ).parameters
            for data in clients
        )
        parameters = {name: (one[name] + two[name]) / 2 for name in parameters}
    # Then the model is right nearly everywhere
    assert workload.evaluate(parameters, workload.holdout_data(None), Context()).metrics["accuracy"] >= 0.95


def test_read_only_parameters_are_left_alone_and_one_seed_gives_one_result(workload: Workload) -> None:
    # Given parameters that can't be written to
    data = workload.client_data(DataSource())
    parameters = workload.initial_parameters(Context(seed=1))
    for array in parameters.values():
        array.flags.writeable = False
    # When they are trained twice with a seed, and once with another
    once, again, other = (
        workload.train(parameters, data.train, Context(options=TrainOptions(), seed=seed, budget=endless())).parameters
        for seed in (1, 1, 2)
    )
    # Then the seed alone decides
    assert once["weights"].tobytes() == again["weights"].tobytes() != other["weights"].tobytes()


def test_training_stops_when_the_time_is_up(workload: Workload) -> None:
    # Given 300 examples in batches of 30, and time for four steps
    data = workload.client_data(DataSource())
    budget = TimeBudget(5, clock=itertools.count().__next__)
    # When it trains
    options = TrainOptions(batch_size=30)
    result = workload.train(
        workload.initial_parameters(Context(seed=1)), data.train, Context(options=options, seed=1, budget=budget)
    )
    # Then four tenths of an epoch are done
    assert (result.num_examples, result.num_steps, result.num_epochs) == (300, 4, 0.4)
    assert budget.cut_short
