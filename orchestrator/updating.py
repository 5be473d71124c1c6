"""From a round's accepted updates to the next model: weights, aggregate, and the algorithm's own step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from algorithms import ServerRound, State, UpdateInfo, load_algorithm, settings_of
from orchestrator.adding_up import add_up, adds_up
from orchestrator.aggregation import WeightedUpdate, move
from orchestrator.aggregators import AggregatorContext, load_aggregator
from orchestrator.mixers import load_mixer
from orchestrator.mixers.mixing import mix
from orchestrator.records import OpenRound, SlotRecord
from orchestrator.run_folder import RunFolder
from orchestrator.scratch import scratch_arrays
from orchestrator.taking_in import update_path
from orchestrator.weighting import WEIGHTINGS
from tasks import arrays, sets
from tasks.arrays import Arrays
from tasks.messages import SurveyOrder, TrainOptions
from tasks.seeds import generator
from verification.geometry import lengths


def next_model(
    folder: RunFolder,
    round_number: int,
    accepted: Mapping[str, SlotRecord],
    opened: OpenRound | None = None,
    train_root: Callable[[], Arrays] | None = None,
) -> tuple[Arrays, State]:
    """Return the parameters that a round ends with, and the algorithm's state.

    The model's arrays that aren't trained are aggregated, and no algorithm goes further than that, nor turns them.

    Args:
        folder: The run's folder; it has the updates.
        round_number: The round.
        accepted: The records of the updates that count, by client id, sorted.
        opened: The round as it was opened; None if that isn't known.
        train_root: Trains the model on the orchestrator's root data; None if it has none.

    Raises:
        AggregationError: If the aggregator, or what mixes the updates before it, needs more of them, or can make
            nothing of these.
        ValueError, ArithmeticError: If what clients sent can't be aggregated.
    """
    config = folder.config()
    algorithm = load_algorithm(config.algorithm)
    settings = settings_of(algorithm, config.settings)
    model, buffers = arrays.map_file(folder.checkpoint(round_number - 1)), folder.buffers()
    trained = {name: values for name, values in model.items() if name not in buffers}

    def update_of(client_id: str) -> Arrays:
        return arrays.map_file(update_path(folder, round_number, client_id))

    infos = [_info(client_id, record, update_of, trained, config.options) for client_id, record in accepted.items()]
    weights = algorithm.weigh(infos, config.options, settings)
    if not algorithm.weighs_steps:
        weights = WEIGHTINGS[config.weighting](infos, weights)
    if opened is not None and adds_up(config, opened):
        aggregate, sent = sets.split(add_up(folder, opened, all_of_them=True).mean())
    else:
        weighted = [
            WeightedUpdate(update_of(client_id), weight)
            for client_id, weight in zip(accepted, weights.weights, strict=True)
        ]
        # A map of its own: aggregators and mixers may be users' code, and the model is read again below.
        origin = arrays.map_file(folder.checkpoint(round_number - 1))
        context = AggregatorContext(origin, config.num_hostile or None, config.trim, buffers, train_root)
        mixed = _mixed(folder, round_number, weighted, context)
        aggregate, sent = sets.split(load_aggregator(config.aggregator)(*mixed))
    parameters, state = algorithm.step(
        ServerRound(
            parameters=model,
            target=move(model, aggregate, weights.scale),
            sent=sent,
            state=_sets_of(folder.state(round_number - 1)),
            num_updates=len(accepted),
            num_clients=max(opened.num_clients if opened else config.num_clients, len(accepted)),
            settings=settings,
            surveyed=_sets_of(folder.surveyed(round_number)),
        )
    )
    return {**parameters, **{name: aggregate[name] for name in buffers if name in aggregate}}, state


def _mixed(
    folder: RunFolder, round_number: int, updates: Sequence[WeightedUpdate], context: AggregatorContext
) -> tuple[Sequence[WeightedUpdate], AggregatorContext]:
    """Return what the aggregator is given: the updates, mixed as the run says."""
    config = folder.config()
    mixers = [load_mixer(spec) for spec in config.mix]
    rng = generator(config.seed, round_number, "mix")
    return mix(updates, context, mixers, rng, functools.partial(scratch_arrays, folder.path))


def _info(
    client_id: str, record: SlotRecord, update_of: Callable[[str], Arrays], trained: Arrays, options: TrainOptions
) -> UpdateInfo:
    # What a client says of its steps scales the whole round's where they are normalised by, so it isn't believed more
    # than the options allow.
    most_steps = options.epochs * math.ceil(record.num_examples / options.batch_size)

    def squared_distance() -> float:
        return float(lengths([update_of(client_id)], trained)[0]) ** 2

    return UpdateInfo(
        client_id=client_id,
        num_examples=record.num_examples,
        num_steps=min(record.num_steps, most_steps),
        metrics=record.metrics,
        squared_distance=functools.cache(squared_distance),
    )


def surveyed_sets(folder: RunFolder, opened: OpenRound, counted: Mapping[str, SlotRecord]) -> State:
    """Return the aggregate of what came in a round's first exchange, weighed as updates are.

    Args:
        folder: The run's folder; it has what came.
        opened: The round as it was opened.
        counted: The records of the clients whose sets count, by client id, sorted.

    Raises:
        AggregationError: If the aggregator needs more clients, or can make nothing of what they sent.
        ValueError, ArithmeticError: If what clients sent can't be aggregated.
    """
    config, number = folder.config(), opened.round_number
    if adds_up(config, opened):
        return sets.split(add_up(folder, opened, SurveyOrder.name, all_of_them=True).mean())[1]
    algorithm = load_algorithm(config.algorithm)
    infos = [
        UpdateInfo(client_id, record.num_examples, record.num_steps, record.metrics)
        for client_id, record in counted.items()
    ]
    weights = algorithm.weigh(infos, config.options, settings_of(algorithm, config.settings)).weights
    weighted = [
        WeightedUpdate(arrays.map_file(update_path(folder, number, client_id, SurveyOrder.name)), weight)
        for client_id, weight in zip(counted, weights, strict=True)
    ]
    context = AggregatorContext({}, config.num_hostile or None, config.trim, folder.buffers())
    mixed = _mixed(folder, number, weighted, context)
    return sets.split(load_aggregator(config.aggregator)(*mixed))[1]


def _sets_of(path: Path) -> State:
    """Return the sets in a file; none if there is no such file."""
    return sets.split(arrays.map_file(path))[1] if path.exists() else {}
