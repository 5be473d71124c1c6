"""From a round's accepted updates to the next model: weights, aggregate, and the algorithm's own step."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from algorithms import ServerRound, State, UpdateInfo, load_algorithm, settings_of
from orchestrator.aggregation import WeightedUpdate, move
from orchestrator.aggregators import AggregatorContext, load_aggregator
from orchestrator.records import SlotRecord
from orchestrator.run_folder import RunFolder
from orchestrator.taking_in import update_path
from orchestrator.weighting import WEIGHTINGS
from tasks import arrays, sets
from tasks.arrays import Arrays
from verification.geometry import lengths


def next_model(folder: RunFolder, round_number: int, accepted: Mapping[str, SlotRecord]) -> tuple[Arrays, State]:
    """Return the parameters that a round ends with, and the algorithm's state.

    Args:
        folder: The run's folder; it has the updates.
        round_number: The round.
        accepted: The records of the updates that count, by client id, sorted.

    Raises:
        TooFewUpdatesError: If the aggregator needs more updates.
    """
    config = folder.config()
    algorithm = load_algorithm(config.algorithm)
    settings = settings_of(algorithm, config.settings)
    model = arrays.map_file(folder.checkpoint(round_number - 1))
    updates = {client_id: arrays.map_file(update_path(folder, round_number, client_id)) for client_id in accepted}
    infos = [_info(client_id, record, updates[client_id], model) for client_id, record in accepted.items()]
    weights = algorithm.weigh(infos, config.options, settings)
    if not algorithm.weighs_steps:
        weights = WEIGHTINGS[config.weighting](infos, weights)
    weighted = [
        WeightedUpdate(update, weight) for update, weight in zip(updates.values(), weights.weights, strict=True)
    ]
    context = AggregatorContext(model, config.num_hostile or None, config.trim)
    aggregate, sent = sets.split(load_aggregator(config.aggregator)(weighted, context))
    return algorithm.step(
        ServerRound(
            parameters=model,
            target=move(model, aggregate, weights.scale),
            sent=sent,
            state=_state(folder, round_number - 1),
            num_updates=len(accepted),
            num_clients=max(config.num_clients, len(accepted)),
            settings=settings,
        )
    )


def _info(client_id: str, record: SlotRecord, update: Arrays, model: Arrays) -> UpdateInfo:
    def squared_distance() -> float:
        return float(lengths([sets.split(update)[0]], model)[0]) ** 2

    return UpdateInfo(
        client_id, record.num_examples, record.num_steps, record.metrics, functools.cache(squared_distance)
    )


def _state(folder: RunFolder, after_round: int) -> State:
    path = folder.state(after_round)
    return sets.split(arrays.map_file(path))[1] if path.exists() else {}
