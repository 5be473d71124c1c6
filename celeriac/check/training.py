"""Training: what it returns, whether it asks for the time, repeats itself, and leaves alone what it is given."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from celeriac.check.data import TriedClient, load_client, not_finite
from celeriac.check.trial import AskedBudget, Finding, Note, Said, Trial, digest_of, handed_over
from tasks.arrays import Arrays
from tasks.context import Context, State
from tasks.described import first_of
from tasks.user_code import UserCodeError, checked_gradients, checked_result, checked_state, declared_results
from tasks.workload import Direction, Step, TrainResult, Workload, can_train_along

NUM_ASKS = 5
"""The question after which the time is over: four steps, where it is asked before each."""
_MOST_LATER = 2
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Training:
    """One that was done: what it returned, what it was told, how long it took, and whether it changed the model."""

    result: TrainResult
    context: Context
    budget: AskedBudget
    took_s: float
    changed_model: bool


def try_training(trial: Trial, model: Arrays, client: TriedClient) -> Generator[Said, None, Arrays]:
    """Try ``train`` of a client for a few steps, and return the model that it trained."""
    trial.call("warm_up()", client.workload.warm_up, client.data.train)
    first = train(trial, client, model)
    yield from _findings(first, model, client)
    again = train(trial, load_client(trial, 0), model)
    is_repeated = digest_of(first.result.parameters) == digest_of(again.result.parameters)
    if not is_repeated:
        yield Finding(
            "train() returned another model when it was called again with the same seed, by a worker that was started "
            "anew: draw from context.rng, or seed with context.seed"
        )
    yield Note("train", _described(again, is_repeated=is_repeated))
    yield from _try_without_time(trial, model, client)
    yield from _try_second_round(trial, client, first)
    return first.result.parameters


def try_algorithms(trial: Trial, model: Arrays, client: TriedClient) -> Generator[Said, None, None]:
    """Try what algorithms ask for that change the clients' steps, if the workload has it."""
    if not can_train_along(client.workload):
        yield Note("train_along", "none: algorithms that change the clients' steps (fedprox, scaffold, …) refuse it")
    else:
        plain = train(trial, load_client(trial, 0), model).result.parameters
        along = train(trial, load_client(trial, 0), model, direction=_plain_direction).result.parameters
        both = plain.keys() & along.keys()  # none where training returns results alone
        if apart := [repr(name) for name in model if name in both and not _close(plain[name], along[name])]:
            yield Finding(
                f"train_along() along the gradients themselves gave another model than train(), in {first_of(apart)}"
            )
        else:
            yield Note("train_along", "as train() along the gradients themselves")
    if type(client.workload).gradients is not Workload.gradients:
        method, context = client.workload.gradients, trial.context(client.workload, client.client_id)
        found = trial.call("gradients()", method, handed_over(model), client.data.train, context)
        gradients = checked_gradients(found, model)
        if odd := not_finite(gradients.arrays):
            yield Finding(f"gradients() returned values that are NaN or infinite, in {odd}")
        yield Note("gradients", f"of {len(gradients.arrays)} arrays, at a loss of {gradients.loss:.4g}")


def train(
    trial: Trial,
    client: TriedClient,
    model: Arrays,
    *,
    num_asks: int = NUM_ASKS,
    state: State | None = None,
    direction: Direction | None = None,
) -> Training:
    """Have a client train a model until it has asked for the time so often.

    Raises:
        UserCodeError: If it raises something, doesn't end, or returns something wrong.
    """
    name = "train()" if direction is None else "train_along()"
    what = name if num_asks else f"{name} with no time left for a step"
    budget, given = AskedBudget(num_asks), handed_over(model)
    round_number = 1 if state is None else 2
    context = trial.context(client.workload, client.client_id, round_number=round_number, budget=budget, state=state)
    workload, data, before = client.workload, client.data.train, digest_of(given)
    started = time.perf_counter()
    if direction is None:
        returned = trial.call(what, workload.train, given, data, context)
    else:
        returned = trial.call(what, workload.train_along, given, data, context, direction)
    took_s = time.perf_counter() - started
    result = checked_result(returned, model, declared_results(workload, context), name)
    return Training(result, context, budget, took_s, digest_of(given) != before)


def _findings(training: Training, model: Arrays, client: TriedClient) -> Iterator[Finding]:
    """Say what is wrong with a training that did what it had to at least in form."""
    result = training.result
    if training.changed_model:
        yield Finding("train() changed the parameters that it was given, in place: train a copy of them")
    if result.num_steps == 0:
        yield Finding(
            "train() returned num_steps=0: the number of the optimiser's steps is needed, 1 where there are none to "
            "count; an update of no steps is none"
        )
    if not 0 < result.num_examples <= client.data.num_train:
        yield Finding(
            f"train() returned num_examples={result.num_examples}: 1 to {client.data.num_train} is allowed, which is "
            "num_train of client_data()"
        )
    if odd := not_finite(result.parameters):
        yield Finding(f"train() returned values that are NaN or infinite, in {odd}")
    elif result.num_steps and not training.changed_model and _gave_back(result, model):
        yield Finding(f"train() returned the parameters as it was given them, after {result.num_steps} steps")
    if odd_metrics := [repr(name) for name, value in result.metrics.items() if not np.isfinite(value)]:
        yield Finding(
            f"train() returned metrics that are NaN or infinite, which aren't recorded: {first_of(odd_metrics)}"
        )
    yield from _findings_of_time(training)


def _findings_of_time(training: Training) -> Iterator[Finding]:
    num_steps, num_asked = training.result.num_steps, training.budget.num_asked
    if training.budget.num_asked_later > _MOST_LATER:
        yield Finding("train() went on after context.budget.is_over() had said so: return what there is then")
    elif num_steps > 2 * (num_asked + 1) and not training.budget.is_asked_for_left:
        often = "never" if not num_asked else "once" if num_asked == 1 else f"{num_asked} times"
        yield Finding(
            f"train() asked context.budget.is_over() {often} in {num_steps} steps: ask before each, or a client can't "
            "end in time (--timeout)"
        )


def _described(training: Training, *, is_repeated: bool) -> str:
    result = training.result
    parts = [f"{result.num_steps} steps of {1000 * training.took_s / max(result.num_steps, 1):.3g} ms"]
    if training.budget.cut_short and result.num_epochs > 0:
        parts.append(f"a pass takes about {training.took_s / result.num_epochs:.2g} s")
    parts += ["the same bits again with the same seed"] if is_repeated else []
    parts += [f"{name} {value:.4g}" for name, value in list(result.metrics.items())[:3]]
    parts += [f"steps by {result.optimizer}"] if result.optimizer else []
    return ", ".join(parts)


def _try_without_time(trial: Trial, model: Arrays, client: TriedClient) -> Iterator[Said]:
    """Train with a time that is over at the first question, as that of a client that is very late."""
    training = train(trial, client, model, num_asks=0)
    if odd := not_finite(training.result.parameters):
        yield Finding(f"train() with no time left for a step returned values that are NaN or infinite, in {odd}")


def _try_second_round(trial: Trial, client: TriedClient, first: Training) -> Iterator[Said]:
    """Train a second round with what the first has left, and say what the study keeps, and where."""
    arrays, text = checked_state(first.context.state if first.context.has_used_state else {})
    kept = {**json.loads(text), **arrays}
    if kept:
        yield Note("context.state", f"keeps {first_of([*map(repr, kept)])}")
    try:
        second = train(trial, client, first.result.parameters, state=copy.deepcopy(kept))
        anew = train(trial, load_client(trial, 0), first.result.parameters, state=copy.deepcopy(kept))
    except UserCodeError as error:
        yield Finding(f"in a second round, with what the first has left: {error}")
        return
    if digest_of(second.result.parameters) != digest_of(anew.result.parameters):
        yield Note("train", "what it keeps on itself or in its data ends with its process; context.state lasts")


def _plain_direction(step: Step) -> Arrays:
    """Return a step's own gradients, after checking that they are told of as they have to be."""
    if unknown := sorted(step.gradients.keys() - step.parameters.keys()):
        raise UserCodeError(f"train_along() gave gradients of no parameter: {first_of([*map(repr, unknown)])}")
    there = step.gradients_at(step.parameters)
    if apart := [repr(name) for name in step.gradients if not _close(step.gradients[name], there[name])]:
        raise UserCodeError(
            f"train_along() gave gradients that gradients_at(parameters) doesn't return, of {first_of(apart)}: "
            "the same batch and the same draws are needed"
        )
    return step.gradients


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.allclose(first, second, rtol=_TOLERANCE, atol=_TOLERANCE * float(np.abs(first).max(initial=0.0))))


def _gave_back(result: TrainResult, model: Arrays) -> bool:
    """Say whether training returned the model as it was given it; not so if it returned none."""
    return bool(result.parameters) and digest_of(result.parameters) == digest_of(model)
