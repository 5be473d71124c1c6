"""Local training as the run's algorithm wants it: its client's part, put together with this client's workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from algorithms import ALGORITHMS, Algorithm, LocalResult, LocalTask, load_algorithm
from tasks.arrays import copied
from tasks.errors import ConfigurationError
from tasks.messages import UpdateOrder
from tasks.sets import Sets
from tasks.user_code import UserCodeError, check_sets, checked_evaluation, checked_result, user_code
from tasks.workload import Direction, Gradients, TimeBudget, TrainResult, Workload, can_train_along
from worker.shared_models import Fetched

VARIABLE = "CLIENT_ALGORITHM"


@dataclass(frozen=True, slots=True)
class Received:
    """What an order refers to.

    Attributes:
        model: The global model.
        broadcast: What the algorithm sent along with it, with the aggregate of the first exchange.
        state: What this client kept after the last of its updates that was accepted.
    """

    model: Fetched
    broadcast: Sets
    state: Sets


def train_locally(
    workload: Workload, data: Any, order: UpdateOrder, received: Received, budget: TimeBudget, allowed: str | None
) -> LocalResult:
    """Carry out the client's part of the order's algorithm.

    Args:
        workload: What is trained.
        data: The client's training data.
        order: The order.
        received: What it refers to.
        budget: The time that the client has.
        allowed: The algorithm that isn't built in and may be carried out here all the same.

    Raises:
        ConfigurationError: If the algorithm isn't allowed here, or asks for what the workload can't do.
        UserCodeError: If the workload, or the algorithm, raises or returns something wrong.
    """
    algorithm = find_algorithm(order.algorithm, allowed)
    with user_code(f"the client's part of {order.algorithm}"):
        result: object = algorithm.local(_task(workload, data, order, received, budget))
    if not isinstance(result, LocalResult):
        raise UserCodeError(f"local() of {order.algorithm} returned {type(result).__name__}: a LocalResult is needed")
    if not callable(result.state):
        raise UserCodeError(
            f"local() of {order.algorithm} returned a state that is {type(result.state).__name__}: "
            "a function is needed, from what arrives of the sets that are sent to what the client keeps"
        )
    check_sets(result.sent, f"local() of {order.algorithm} returned sets")
    return result


def survey_locally(
    workload: Workload, data: Any, order: UpdateOrder, received: Received, budget: TimeBudget, allowed: str | None
) -> Sets:
    """Carry out the client's part of the first exchange of the order's algorithm; see :func:`train_locally`.

    Raises:
        ConfigurationError: If the algorithm isn't allowed here, has no such exchange, or asks for what the workload
            can't do.
        UserCodeError: If the workload, or the algorithm, raises or returns something wrong.
    """
    survey = find_algorithm(order.algorithm, allowed).survey
    if survey is None:
        raise ConfigurationError(f"algorithm {order.algorithm!r} has no exchange before training")
    with user_code(f"the client's part of {order.algorithm}"):
        found = survey(_task(workload, data, order, received, budget))
    check_sets(found, f"survey() of {order.algorithm} returned sets")
    return found


def _task(workload: Workload, data: Any, order: UpdateOrder, received: Received, budget: TimeBudget) -> LocalTask:
    """Return what an algorithm's client's part works with."""
    own, is_ours = received.model.own, order.algorithm in ALGORITHMS

    def train(direction: Direction | None) -> TrainResult:
        if direction is None:
            with user_code("train()"):
                return checked_result(workload.train(own(), data, order.options, seed=order.seed, budget=budget))
        if not can_train_along(workload):
            raise ConfigurationError(
                f"algorithm {order.algorithm!r} changes the clients' training steps, and workload "
                f"{order.workload!r} has no train_along() to its train(): see docs/algorithms.md"
            )
        with user_code("train_along()"):
            return checked_result(
                workload.train_along(own(), data, order.options, seed=order.seed, budget=budget, direction=direction)
            )

    def gradients() -> Gradients:
        with user_code("gradients()"):
            return workload.gradients(own(), data)

    def loss() -> float:
        with user_code("evaluate()"):
            return checked_evaluation(workload.evaluate(own(), data)).loss

    return LocalTask(
        # An algorithm of the user's own may write to what it is given: others read it too.
        parameters=received.model.arrays if is_ours else own(),
        broadcast=received.broadcast if is_ours else {kind: copied(each) for kind, each in received.broadcast.items()},
        state=received.state,
        options=order.options,
        settings=order.settings,
        num_clients=order.num_clients,
        train=train,
        gradients=gradients,
        loss=loss,
    )


def find_algorithm(spec: str, allowed: str | None) -> Algorithm:
    """Return the algorithm that an order names: a built-in one, or the one that this client's operator has allowed.

    Raises:
        ConfigurationError: If it is neither; code isn't imported because an order says so.
    """
    if spec not in ALGORITHMS and spec != allowed:
        raise ConfigurationError(f"the run's algorithm {spec!r} is not allowed here: set {VARIABLE}={spec}")
    return load_algorithm(spec)
