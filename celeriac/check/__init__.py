"""Trying a workload's whole contract in this process, in seconds: what will fail, and what was seen besides.

``python -m celeriac.check my_study:MyStudy`` is :mod:`celeriac.check.__main__`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from celeriac.check.data import try_client_data, try_holdout, try_model
from celeriac.check.evaluating import try_at_client, try_at_orchestrator
from celeriac.check.preparing import try_prepare
from celeriac.check.training import try_algorithms, try_training
from celeriac.check.trial import Finding, Note, Said, Trial
from tasks.errors import FederationError
from tasks.user_code import UserCodeError

__all__ = ["Finding", "Note", "Said", "Trial", "try_workload"]

T = TypeVar("T")


def try_workload(trial: Trial) -> Iterator[Said]:
    """Try all that a run calls of a workload, and yield what is found. What needs a part that failed isn't tried.

    Methods are given what a run gives them: each client has a workload of its own, and the model is read-only.
    """
    told: set[Said] = set()
    for said in _try_all(trial):
        if said not in told:
            told.add(said)
            yield said


def _try_all(trial: Trial) -> Iterator[Said]:
    made = yield from _tried("", _make(trial))
    if made is None:
        return
    prepared = yield from _tried("", try_prepare(trial))
    if prepared is None:
        return
    trial = prepared
    model = yield from _tried("initial_parameters()", try_model(trial))
    clients = yield from _tried("client_data()", try_client_data(trial))
    holdout = yield from _tried("holdout_data()", try_holdout(trial))
    client = next((client for client in clients or [] if client.data.num_train), None)
    if model is None or client is None:
        return
    trained = yield from _tried("train()", try_training(trial, model, client))
    if trained is not None:
        yield from _tried("train_along()", try_algorithms(trial, model, client))
    later = trained or model
    yield from _tried("evaluate()", try_at_client(trial, model, later, client))
    if holdout is not None:
        yield from _tried("evaluate()", try_at_orchestrator(trial, model, later, holdout))


def _make(trial: Trial) -> Generator[Said, None, bool]:
    trial.workload()
    yield from ()
    return True


def _tried(method: str, parts: Generator[Said, None, T]) -> Generator[Said, None, T | None]:
    """Yield what was found of a method; an error that ends it is a finding too, and then it returns None."""
    try:
        return (yield from parts)
    except UserCodeError as error:
        yield Finding(str(error))
    except FederationError as error:
        yield Finding(f"{method}: {error}" if method else str(error))
    return None
