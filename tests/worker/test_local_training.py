from __future__ import annotations

from typing import Any

import pytest

from celeriac.algorithms import Algorithm, LocalResult
from celeriac.algorithms.fedavg import FEDAVG
from celeriac.workloads.datasets.digits import Digits
from tasks.arrays import copied
from tasks.context import Context, TimeBudget
from tasks.errors import ConfigurationError
from tasks.workload import TrainResult, Workload, can_train_along
from tests.support import Pull, points, train_order
from worker.local_training import Fetched, Received, train_locally
from worker.settings import Allowed

OWN = Algorithm(name="own", local=lambda task: LocalResult(task.train(lambda step: step.gradients)))


class LoopOfItsOwn(Digits):
    """Replaces the loop that train_along belongs to."""

    def train(self, *_: Any, **__: Any) -> TrainResult:
        raise NotImplementedError


def train(algorithm: str, workload: Workload) -> LocalResult:
    order = train_order(algorithm=algorithm, settings={"mu": 0.1, "momentum": 0.9, "alpha": 0.1})
    model = workload.initial_parameters(Context(seed=1))
    received = Received(Fetched(model, lambda: copied(model)), {}, {})
    data = points("anna", 3).train
    return train_locally(workload, data, order, received, Context(budget=TimeBudget(60)), Allowed(f"{__name__}:OWN"))


def test_a_built_in_algorithm_is_always_allowed_and_another_only_if_the_operator_says_so() -> None:
    # Given an algorithm that isn't built in
    spec = f"{__name__}:OWN"
    # When an order names it, then it isn't even imported unless this client's operator has named it too
    assert Allowed().find_algorithm("fedavg") is FEDAVG
    for allowed in (None, "another:ONE"):
        with pytest.raises(ConfigurationError, match=f"is not allowed here: set CLIENT_ALGORITHM={spec}"):
            Allowed(allowed).find_algorithm(spec)
    assert Allowed(spec).find_algorithm(spec).name == "own"


@pytest.mark.parametrize("algorithm", ["fedprox", "scaffold", "feddyn", f"{__name__}:OWN"])
def test_a_workload_without_train_along_cant_have_its_steps_changed(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match=r"changes the clients' training steps.*no train_along\(\)"):
        train(algorithm, Pull())


def test_a_workload_without_gradients_cant_be_asked_for_them() -> None:
    with pytest.raises(ConfigurationError, match=r"asks clients for their gradients.*Pull has no gradients\(\)"):
        train("mimelite", Pull())


def test_algorithms_that_leave_the_steps_alone_train_whatever_trains() -> None:
    assert train("fedavg", Pull()).trained.num_steps > 0
    assert train("qfedavg", Pull()).metrics["start_loss"] > 0


def test_a_loop_that_was_replaced_isnt_gone_round() -> None:
    # Given a subclass that overrides train() alone: the base's train_along() isn't what its author meant
    assert can_train_along(Digits())
    assert not can_train_along(LoopOfItsOwn())
    assert not can_train_along(Pull())
