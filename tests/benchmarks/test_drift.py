from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.constant import Constant
from benchmarks.drift import is_right
from tasks.arrays import Arrays
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError
from tasks.messages import TrainOptions
from tasks.workload import DataSource, Part, Workload, load_workload

SMALL = "benchmarks.constant:Constant,mb=0.0032"


def trained(workload: Workload, parameters: Arrays, index: int) -> Arrays:
    data = workload.client_data(DataSource(part=Part(index, 3))).train
    return workload.train(
        parameters, data, Context(options=TrainOptions(), seed=0, budget=TimeBudget(math.inf))
    ).parameters


@pytest.mark.parametrize(("mb", "values"), [("0.4", 12_500), ("40", 1_250_000), ("0.000032", 1)])
def test_the_model_is_as_large_as_it_was_asked_to_be(mb: str, values: int) -> None:
    # Given a workload of a size
    workload = load_workload(f"benchmarks.constant:Constant,mb={mb}")
    # When its model is made
    parameters = workload.initial_parameters(Context(seed=0))
    # Then it is eight equal float32 arrays of that size together
    assert [(array.shape, array.dtype) for array in parameters.values()] == [((values,), np.dtype(np.float32))] * 8
    assert sum(array.nbytes for array in parameters.values()) == round(float(mb) * 1e6)


@pytest.mark.parametrize("mb", ["0", "-1", "much", "nan", "inf", "0.000001"])
def test_a_size_that_is_none_is_refused(mb: str) -> None:
    # Given a size that a model can't have, when the workload is made, then it says which is meant
    with pytest.raises(ConfigurationError, match=f"mb={mb}"):
        load_workload(f"benchmarks.constant:Constant,mb={mb}")


def test_each_client_adds_a_constant_of_its_own_and_changes_nothing_it_was_given() -> None:
    # Given a model
    workload = load_workload(SMALL)
    parameters = workload.initial_parameters(Context(seed=1))
    before = {name: values.copy() for name, values in parameters.items()}
    # When two clients train it
    first, third = trained(workload, parameters, 0), trained(workload, parameters, 2)
    # Then the first has added a thousandth to each value, the third two millionths more, and the model is as it was
    for name, values in before.items():
        np.testing.assert_array_equal(parameters[name], values)
        np.testing.assert_allclose(first[name] - values, 0.001, rtol=1e-3)
        np.testing.assert_allclose(third[name] - values, 0.001002, rtol=1e-3)


@pytest.mark.parametrize(("added", "right"), [(2 * 0.001001, True), (0.001001, False), (3 * 0.001001, False)])
def test_a_model_is_right_that_has_drifted_by_as_many_rounds_as_there_were(added: float, right: bool) -> None:
    # Given a model to whose values something was added; three clients add 0.001001 a round on average
    before = [np.linspace(-1, 1, 5, dtype=np.float32)]
    after = [values + np.float32(added) for values in before]
    # When it is looked at after two rounds, then it is right if that is what two rounds add
    assert is_right(before, after, num_clients=3, num_rounds=2) is right


def test_a_model_is_wrong_one_of_whose_values_has_gone_astray() -> None:
    # Given a model that has drifted as it should, but for one value
    before = [np.zeros(1000, np.float32)]
    after = [np.full(1000, 0.001, np.float32)]
    after[0][7] += 0.03
    # When it is looked at, then it is wrong, though its mean is nearly what it should be
    assert not is_right(before, after, num_clients=1, num_rounds=1)


def test_clients_do_without_torch() -> None:
    # Given a fresh interpreter, when a client's side is loaded, then torch is not
    code = "import sys, benchmarks.constant, worker.serving; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_along_its_gradients_a_client_is_trained_as_ever() -> None:
    # Given a workload's model, when a client trains along the gradients themselves, then it is as by its training
    workload, context = Constant("0.001"), Context()
    parameters = workload.initial_parameters(context)
    along = workload.train_along(parameters, 0.5, context, lambda step: step.gradients)
    for name, values in workload.train(parameters, 0.5, context).parameters.items():
        assert along.parameters[name] == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_clients_hang_or_fail_where_they_are_named() -> None:
    # Given a workload that has a client fail, when another trains, then it does, and that one doesn't
    workload = Constant("0.001", fails="client-1")
    parameters = workload.initial_parameters(Context())
    assert workload.train(parameters, 0.5, Context(client_id="client-2")).num_steps == 1
    with pytest.raises(RuntimeError, match="this client fails"):
        workload.train(parameters, 0.5, Context(client_id="client-1"))
