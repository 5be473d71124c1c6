"""Evaluating: of the clients' and the orchestrator's held-out examples, the initial model and a trained one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

from celeriac.check.data import TriedClient
from celeriac.check.trial import Finding, Note, Said, Trial, digest_of, handed_over
from tasks.arrays import Arrays
from tasks.evaluation import Evaluation
from tasks.user_code import checked_declared, checked_evaluation
from tasks.workload import Workload


def try_at_client(trial: Trial, model: Arrays, trained: Arrays, client: TriedClient) -> Generator[Said, None, None]:
    """Try ``evaluate`` on what a client holds out."""
    checked_declared(client.workload)
    yield from _try(trial, client.workload, (model, trained), client.data.test, client.client_id)


def try_at_orchestrator(trial: Trial, model: Arrays, trained: Arrays, holdout: Any) -> Generator[Said, None, None]:
    """Try ``evaluate`` on what the orchestrator holds out."""
    yield from _try(trial, trial.workload(), (model, trained), holdout, "")


def _try(
    trial: Trial, workload: Workload, models: tuple[Arrays, Arrays], examples: Any, client_id: str
) -> Iterator[Said]:
    whose = "the client's test examples" if client_id else "holdout_data()"
    what = f"evaluate() on {whose}"
    started = time.perf_counter()
    for model, which in zip(models, ("the initial model", "a trained model"), strict=True):
        given = handed_over(model)
        before = digest_of(given)
        evaluation = _evaluate(trial, workload, given, examples, client_id, f"evaluate() of {which} on {whose}")
        if digest_of(given) != before:
            yield Finding(f"{what} changed the parameters that it was given, in place: work on a copy of them")
        if evaluation != _evaluate(trial, workload, handed_over(model), examples, client_id, what):
            yield Finding(f"{what} returned something else when it was called again with the same model and seed")
        if (problem := evaluation.problem()) and (evaluation.num_examples or not client_id):
            yield Finding(f"{what}: {problem}")
    yield Note("evaluate", _described(whose, evaluation, (time.perf_counter() - started) / 4))


def _evaluate(trial: Trial, workload: Workload, given: Arrays, examples: Any, client_id: str, what: str) -> Evaluation:
    return checked_evaluation(trial.call(what, workload.evaluate, given, examples, trial.context(workload, client_id)))


def _described(whose: str, evaluation: Evaluation, took_s: float) -> str:
    if not evaluation.num_examples:
        return f"on {whose}: there are none, so clients can't say how good a model is"
    values = ", ".join(f"{name} {value:.4g}" for name, value in list(evaluation.values.items())[:4])
    return f"on {whose} ({evaluation.num_examples:,}): {values}, in {took_s:.2g} s"
