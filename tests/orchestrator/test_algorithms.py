from __future__ import annotations

import numpy as np
import pytest

from orchestrator.algorithms import load_algorithm
from orchestrator.algorithms.algorithm import UpdateInfo
from orchestrator.algorithms.fedavg import FEDAVG
from tasks.errors import LoadError, UnknownNameError


def test_fedavg_weighs_by_examples_and_takes_the_mean_as_it_is() -> None:
    # Given an update of 7 examples and 90 steps, a model and a mean
    info, model, mean = UpdateInfo("anna", 7, 90), {"w": np.array([1.0])}, {"w": np.array([2.0])}
    # When FedAvg is asked, then examples count, and the mean is the new model
    assert load_algorithm("fedavg") is FEDAVG
    assert FEDAVG.weight(info) == 7.0
    assert FEDAVG.step(model, mean) is mean


def test_algorithms_are_found_by_name() -> None:
    # Given a slip and something that is no algorithm, when they are loaded, then the messages say what is allowed
    with pytest.raises(UnknownNameError, match=r"unknown algorithm 'fedavgg': did you mean 'fedavg'\?"):
        load_algorithm("fedavgg")
    with pytest.raises(LoadError, match=r"is function, not an orchestrator\.algorithms\.Algorithm"):
        load_algorithm("orchestrator.algorithms.fedavg:step")
    assert load_algorithm("tests.support:EQUAL_WEIGHTS").name == "equal"
