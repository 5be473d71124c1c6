"""Local training as the run's algorithm wants it: its client's part, put together with this client's workload.

Celery's prefork pool raises an exception wherever the code happens to be when a task's soft time limit is over, in the
middle of an optimiser's step for instance. Here the signal ends the budget that training asks between two steps. Pools
without soft limits (solo, threads, eager) do with the budget's clock alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from celeriac.algorithms import ALGORITHMS, LocalResult, LocalTask, check_optimizer
from tasks.arrays import Arrays, copied
from tasks.auxiliary import Sets
from tasks.context import Context, TimeBudget
from tasks.errors import UnfitOrderError
from tasks.messages import UpdateOrder
from tasks.orders.train import TrainOrder
from tasks.user_code import (
    UserCodeError,
    check_sets,
    checked_evaluation,
    checked_gradients,
    checked_result,
    declared_results,
    user_code,
)
from tasks.workload import Direction, Gradients, TrainResult, Workload, can_train_along
from worker.settings import Allowed


@dataclass(frozen=True, slots=True)
class Fetched:
    """Arrays that came with an order.

    Attributes:
        arrays: What all of this process read: read-only, and for nobody who might write to them all the same.
        own: Returns arrays like them in memory of their own: what users' code is given.
    """

    arrays: Arrays
    own: Callable[[], Arrays]


@dataclass(frozen=True, slots=True)
class Received:
    """What an order refers to.

    Attributes:
        model: The global model.
        broadcast: What the algorithm sent along with it, with the aggregate of the first exchange and the results of
            the last round.
        state: What this client kept after the last of its updates that was accepted.
    """

    model: Fetched
    broadcast: Sets
    state: Sets


def train_locally(
    workload: Workload, data: Any, order: TrainOrder, received: Received, context: Context, allowed: Allowed
) -> LocalResult:
    """Carry out the client's part of the order's algorithm.

    Args:
        workload: What is trained.
        data: The client's training data.
        order: The order.
        received: What it refers to.
        context: What the workload is told; the soft limit of the task that runs now ends its budget.
        allowed: What of a user's own the order may name.

    Raises:
        UnfitOrderError: If the algorithm isn't allowed here, or asks for what the workload can't do.
        UserCodeError: If the workload, or the algorithm, raises or returns something wrong.
    """
    algorithm = allowed.find_algorithm(order.algorithm)
    with soft_limit(context.budget), user_code(f"the client's part of {order.algorithm}"):
        task = _task(workload, data, order, received, context, wants_parameters=order.wants_parameters)
        result: object = algorithm.local(task)
    if not isinstance(result, LocalResult):
        raise UserCodeError(f"local() of {order.algorithm} returned {type(result).__name__}: a LocalResult is needed")
    if not callable(result.state):
        raise UserCodeError(
            f"local() of {order.algorithm} returned a state that is {type(result.state).__name__}: "
            "a function is needed, from what arrives of the sets that are sent to what the client keeps"
        )
    check_optimizer(algorithm, result.trained.optimizer)
    check_sets(result.sent, f"local() of {order.algorithm} returned sets")
    return result


def survey_locally(
    workload: Workload, data: Any, order: UpdateOrder, received: Received, context: Context, allowed: Allowed
) -> Sets:
    """Carry out the client's part of the first exchange of the order's algorithm; see :func:`train_locally`.

    Raises:
        UnfitOrderError: If the algorithm isn't allowed here, has no such exchange, or asks for what the workload
            can't do.
        UserCodeError: If the workload, or the algorithm, raises or returns something wrong.
    """
    survey = allowed.find_algorithm(order.algorithm).survey
    if survey is None:
        raise UnfitOrderError(f"algorithm {order.algorithm!r} has no exchange before training")
    with soft_limit(context.budget), user_code(f"the client's part of {order.algorithm}"):
        found = survey(_task(workload, data, order, received, context))
    check_sets(found, f"survey() of {order.algorithm} returned sets")
    return found


def _task(
    workload: Workload,
    data: Any,
    order: UpdateOrder,
    received: Received,
    context: Context,
    *,
    wants_parameters: bool = False,
) -> LocalTask:
    """Return what an algorithm's client's part works with; where it wants parameters, training has to return them."""
    model, own, is_ours = received.model, received.model.own, order.algorithm in ALGORITHMS
    declared = declared_results(workload, context)

    def checked(returned: object, method: str) -> TrainResult:
        result = checked_result(returned, model.arrays, declared, method)
        if wants_parameters and model.arrays and not result.parameters:
            raise UserCodeError(f"{method} returned no parameters: {order.algorithm} needs those of the model")
        return result

    def train(direction: Direction | None) -> TrainResult:
        if direction is None:
            with user_code("train()"):
                return checked(workload.train(own(), data, context), "train()")
        if not can_train_along(workload):
            raise UnfitOrderError(
                f"algorithm {order.algorithm!r} changes the clients' training steps, and workload "
                f"{order.workload!r} has no train_along() to its train(): see docs/algorithms.md"
            )
        with user_code("train_along()"):
            return checked(workload.train_along(own(), data, context, direction), "train_along()")

    def gradients() -> Gradients:
        with user_code("gradients()"):
            return checked_gradients(workload.gradients(own(), data, context), model.arrays)

    def loss() -> float:
        with user_code("evaluate()"):
            found = checked_evaluation(workload.evaluate(own(), data, replace(context))).loss
        if found is None:
            raise UserCodeError(f"{order.algorithm} goes by the loss, and evaluate() returned None for it")
        return found

    return LocalTask(
        # An algorithm of the user's own may write to what it is given: others read it too.
        parameters=model.arrays if is_ours else own(),
        broadcast=received.broadcast if is_ours else {kind: copied(each) for kind, each in received.broadcast.items()},
        state=received.state,
        options=context.options,
        settings=order.settings,
        num_clients=order.num_clients,
        train=train,
        gradients=gradients,
        loss=loss,
    )


@contextmanager
def soft_limit(budget: TimeBudget) -> Iterator[None]:
    """Have the soft limit of the task that runs now end ``budget``.

    When the task is over, a handler stays that does nothing: the signal may come just then, and must not be taken for
    the next one's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGUSR1, lambda *_: budget.expire())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, lambda *_: None)
