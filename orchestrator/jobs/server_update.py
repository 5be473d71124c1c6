"""From a round's accepted updates to the next model: weights, aggregate, and the algorithm's own step."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.algorithms import ServerRound, State, UpdateInfo, Weights, settings_of
from celeriac.algorithms.fednova import normalise
from celeriac.geometry import lengths
from celeriac.mixers.mixing import mix
from orchestrator.jobs.group_sums import mean_of_groups
from orchestrator.jobs.job import Job
from orchestrator.jobs.scratch import scratch_arrays
from orchestrator.jobs.streaming_mean import add_next, is_spread, is_streamed
from orchestrator.store.records import SlotRecord
from tasks import arrays, auxiliary, results
from tasks.arrays import Array, Arrays, is_float
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.seeds import generator
from tasks.user_code import UserCodeError, check_sets, checked_arrays, user_code


def next_model(job: Job, accepted: Mapping[str, SlotRecord]) -> tuple[Arrays, State]:
    """Return the parameters that a round ends with, and the algorithm's state, with what became of the results.

    The model's arrays that aren't trained are aggregated, and no algorithm goes further than that, nor turns them.

    Args:
        job: The job; the run's folder has the updates.
        accepted: The records of the updates that count, by client id, sorted.

    Raises:
        AggregationError: If the aggregator, or what mixes the updates before it, needs more of them, or can make
            nothing of these.
        UserCodeError: If the algorithm or the aggregator raises, or returns something wrong.
        UpdatesLostError: If updates are where they came, and some are gone from there.
        ValueError, ArithmeticError: If what clients sent can't be aggregated.
    """
    config, number, model = job.config, job.round_number, job.model()
    settings = settings_of(job.algorithm, config.settings)
    weights = _weights(job, accepted, settings)
    aggregate, sent = _aggregate(job, TrainOrder.name, dict(zip(accepted, weights.weights, strict=True)), job.model())
    of_clients = [job.results_of(client_id) for client_id in accepted] if job.results else []
    reduced = results.reduced(job.results, of_clients, weights.weights)
    num_clients = job.opened.num_clients if job.opened else config.num_clients
    former = _sets_of(job.folder.state(number - 1))
    parameters, state = _step(
        job,
        ServerRound(
            parameters=model,
            target=move(model, aggregate, weights.scale) if job.algorithm.sends_parameters else model,
            sent=sent,
            state={kind: each for kind, each in former.items() if kind != results.KIND},
            num_updates=len(accepted),
            num_clients=max(num_clients, len(accepted)),
            settings=settings,
            surveyed=_sets_of(job.folder.surveyed(number)),
            results=reduced,
            rng=generator(config.seed, number, "step"),
        ),
    )
    parameters = {**parameters, **{name: aggregate[name] for name in job.buffers if name in aggregate}}
    if not job.algorithm.grows and (wrong := arrays.difference(arrays.spec_of(parameters), arrays.spec_of(model))):
        raise UserCodeError(
            f"step() of {config.algorithm} returned another model, and doesn't say that it grows: {wrong}"
        )
    return parameters, {**state, results.KIND: reduced} if reduced else state


def _step(job: Job, server: ServerRound) -> tuple[Arrays, State]:
    """Have the algorithm do its step, and return the new parameters and its state."""
    what = f"step() of {job.config.algorithm}"
    with user_code(what):
        returned: object = job.algorithm.step(server)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise UserCodeError(f"{what} returned {type(returned).__name__}: (parameters, state), two dicts, is needed")
    parameters, state = returned
    check_sets(state, f"{what} returned sets of its state")
    if results.KIND in state:
        raise UserCodeError(
            f"{what} returned a state with the set {results.KIND!r}: that name is for the workload's results"
        )
    return checked_arrays(parameters, f"{what} returned parameters"), state


def surveyed_sets(job: Job, counted: Mapping[str, SlotRecord]) -> State:
    """Return the aggregate of what came in a round's first exchange, weighed as updates are.

    Args:
        job: The job; the run's folder has what came.
        counted: The records of the clients whose sets count, by client id, sorted.

    Raises:
        AggregationError: If the aggregator needs more clients, or can make nothing of what they sent.
        UpdatesLostError: If what they sent is where it came, and some is gone from there.
        ValueError, ArithmeticError: If what clients sent can't be aggregated.
    """
    infos = [
        UpdateInfo(client_id, record.num_examples, record.num_steps, record.metrics)
        for client_id, record in counted.items()
    ]
    weights = _weigh(job, infos, settings_of(job.algorithm, job.config.settings)).weights
    return _aggregate(job, SurveyOrder.name, dict(zip(counted, weights, strict=True)), {})[1]


def _weights(job: Job, accepted: Mapping[str, SlotRecord], settings: Mapping[str, float]) -> Weights:
    """Return what the updates weigh, and how far the model moves towards their mean."""
    trained = {name: values for name, values in job.model().items() if name not in job.buffers}
    infos = [_info(job, client_id, record, trained) for client_id, record in accepted.items()]
    weights = _weigh(job, infos, settings)
    is_to_normalise = job.config.weighting == "steps" and not job.algorithm.weighs_steps
    return normalise(infos, weights) if is_to_normalise else weights


def _weigh(job: Job, infos: Sequence[UpdateInfo], settings: Mapping[str, float]) -> Weights:
    """Have the algorithm weigh updates."""
    what = f"weigh() of {job.config.algorithm}"
    with user_code(what):
        found: object = job.algorithm.weigh(infos, job.options, settings)
    if not isinstance(found, Weights):
        raise UserCodeError(f"{what} returned {type(found).__name__}: Weights(weights, scale) is needed")
    if len(found.weights) != len(infos):
        raise UserCodeError(f"{what} returned {len(found.weights)} weights for {len(infos)} updates")
    return found


def _info(job: Job, client_id: str, record: SlotRecord, trained: Arrays) -> UpdateInfo:
    # What a client says of its steps scales the whole round's where they are normalised by, so it isn't believed more
    # than the options allow.
    options = job.options
    most_steps = options.max_steps or options.epochs * math.ceil(record.num_examples / options.batch_size)

    def squared_distance() -> float:
        return float(lengths([job.update(client_id)], trained)[0]) ** 2

    return UpdateInfo(
        client_id=client_id,
        num_examples=record.num_examples,
        num_steps=min(record.num_steps, most_steps),
        metrics=record.metrics,
        squared_distance=functools.cache(squared_distance),
    )


def _aggregate(job: Job, exchange: str, weights: Mapping[str, float], origin: Arrays) -> tuple[Arrays, State]:
    """Return the aggregate of what came in an exchange, mixed before as the run says: parameters, and sets.

    Args:
        job: The job.
        exchange: Which of the round's exchanges.
        weights: What the updates that count weigh, by client id, sorted.
        origin: The model that the round started from, which a user's aggregator or mixer may write to; or nothing.
    """
    if is_spread(job):
        return auxiliary.split(mean_of_groups(job, exchange, weights))
    if is_streamed(job):
        return auxiliary.split(add_next(job, exchange, all_of_them=True).mean())
    config = job.config
    updates = [WeightedUpdate(job.update(client_id, exchange), weight) for client_id, weight in weights.items()]
    train_root = job.train_root if exchange == TrainOrder.name else None
    context = AggregatorContext(origin, config.num_byzantine or None, config.trim, job.buffers, train_root)
    rng = generator(config.seed, job.round_number, "mix")
    with user_code(f"--mix {','.join(config.mix)}"):
        mixed = mix(updates, context, job.mixers, rng, functools.partial(scratch_arrays, job.folder.path))
    what = f"aggregator {config.aggregator}"
    with user_code(what):
        returned = job.aggregator(*mixed)
    aggregate = checked_arrays(returned, f"{what} returned arrays")
    if wrong := arrays.difference(arrays.spec_of(aggregate), job.update_spec(exchange)):
        raise UserCodeError(f"{what} returned something else than an update: {wrong}")
    return auxiliary.split(aggregate)


def move(start: Arrays, end: Arrays, scale: float) -> dict[str, Array]:
    """Return ``start + scale * (end - start)`` of every array, taken in float64 and rounded once.

    Arrays that are not of floats are those of ``end``: counters can't be moved beyond it.
    """
    moved = {}
    for name, target in end.items():
        if not is_float(target.dtype) or scale == 1.0:
            moved[name] = target
            continue
        origin = start[name].astype(np.float64)
        moved[name] = (origin + scale * (target.astype(np.float64) - origin)).astype(target.dtype)
    return moved


def _sets_of(path: Path) -> State:
    """Return the sets in a file; none if there is no such file."""
    return auxiliary.split(arrays.map_file(path))[1] if path.exists() else {}
