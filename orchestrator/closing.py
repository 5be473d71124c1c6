"""The heavy work of a run, done by the orchestrator's own workers: the initial model, and the closing of a round."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.aggregation import WeightedUpdate, move
from orchestrator.aggregators import AggregatorContext, TooFewUpdatesError, load_aggregator
from orchestrator.algorithms import load_algorithm
from orchestrator.algorithms.algorithm import UpdateInfo
from orchestrator.config import RunConfig
from orchestrator.judging import ACCEPTED, Case, judge
from orchestrator.records import ClosedRound, FilledSlot, HandedOut, PeerScores, SlotRecord
from orchestrator.run_folder import RunFolder
from orchestrator.taking_in import update_path
from orchestrator.weighting import WEIGHTINGS
from tasks import arrays, blobs, names
from tasks.blobs import ChunkStore
from tasks.errors import FederationError
from tasks.messages import Metrics, finite
from tasks.seeds import derive_seed
from tasks.workload import Workload, load_workload

_NO_SCORES = PeerScores()


class UserCodeError(FederationError):
    """Raised when the workload's or the algorithm's own code raised something at the orchestrator."""


def initialise(folder: RunFolder) -> Metrics:
    """Write the initial model and return its metrics on the held-out data; done anew each time it is asked for.

    Raises:
        FederationError: If the workload or its data can't be loaded.
    """
    config = folder.config()
    load_algorithm(config.algorithm)
    load_aggregator(config.aggregator)
    workload = _workload(config.workload)
    holdout = _holdout(config.workload, config.data)
    path = folder.checkpoint(0)
    if not path.exists():
        arrays.write_file(path, workload.initial_parameters(derive_seed(config.seed, "initial parameters")))
    return _metrics(workload, holdout, arrays.map_file(path))


def close_round(
    folder: RunFolder, round_number: int, parts: Sequence[FilledSlot], peers: PeerScores = _NO_SCORES
) -> ClosedRound:
    """Judge a round's updates, aggregate those that are accepted, and evaluate the model; with too few, keep it."""
    config = folder.config()
    workload, holdout = _workload(config.workload), _holdout(config.workload, config.data)
    answers = judge(
        Case(folder, config, round_number, workload, holdout),
        {part.client_id: part.record for part in sorted(parts, key=lambda part: part.client_id)},
        peers,
    )
    accepted = [client_id for client_id, record in answers.items() if record.status in ACCEPTED]
    if len(accepted) < config.min_updates:
        reason = f"{len(accepted)} updates were accepted, {config.min_updates} are needed (--min-updates)"
        return _failed(folder, round_number, answers, reason)
    try:
        parameters = _aggregate(config, folder, round_number, {client_id: answers[client_id] for client_id in accepted})
    except TooFewUpdatesError as error:
        return _failed(folder, round_number, answers, str(error))
    digest = arrays.write_file(folder.checkpoint(round_number), parameters)
    return ClosedRound(status="closed", answers=answers, digest=digest, metrics=_metrics(workload, holdout, parameters))


def hand_out(folder: RunFolder, chunks: ChunkStore, round_number: int, parts: Sequence[FilledSlot]) -> HandedOut:
    """Put a round's updates where other clients can read them; their names don't tell whose they are."""
    run_id = folder.config().run_id
    accepted = sorted(part.client_id for part in parts if part.record.status in ACCEPTED)
    updates = {}
    for number, client_id in enumerate(accepted):
        view = memoryview(update_path(folder, round_number, client_id).read_bytes())
        name = names.handed_out_blob(run_id, round_number, number)
        updates[client_id] = blobs.publish(chunks, name, [view], blobs.TTL_S)
    return HandedOut(parts=list(parts), updates=updates)


def _aggregate(
    config: RunConfig, folder: RunFolder, round_number: int, records: dict[str, SlotRecord]
) -> arrays.Arrays:
    algorithm = load_algorithm(config.algorithm)
    infos = [UpdateInfo(client_id, record.num_examples, record.num_steps) for client_id, record in records.items()]
    weighting = WEIGHTINGS[config.weighting](infos, [algorithm.weight(info) for info in infos])
    updates = [
        WeightedUpdate(arrays.map_file(update_path(folder, round_number, client_id)), weight)
        for client_id, weight in zip(records, weighting.weights, strict=True)
    ]
    model = arrays.map_file(folder.checkpoint(round_number - 1))
    context = AggregatorContext(model, config.num_hostile or None, config.trim)
    aggregated = load_aggregator(config.aggregator)(updates, context)
    return algorithm.step(model, move(model, aggregated, weighting.scale))


def _failed(folder: RunFolder, round_number: int, answers: dict[str, SlotRecord], reason: str) -> ClosedRound:
    """Close a round that has no new model with the one that it started from."""
    digest = _keep_model(folder.checkpoint(round_number - 1), folder.checkpoint(round_number))
    return ClosedRound(status="failed", reason=reason, answers=answers, digest=digest)


def _keep_model(previous: Path, path: Path) -> str:
    path.unlink(missing_ok=True)
    os.link(previous, path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metrics(workload: Workload, holdout: Any, parameters: arrays.Arrays) -> Metrics:
    """Return ``loss`` and ``accuracy``, those that are finite; a model that diverged has none."""
    if holdout is None:
        return {}
    evaluation = workload.evaluate(parameters, holdout)
    return finite({"loss": evaluation.loss, "accuracy": evaluation.accuracy})


@functools.lru_cache(maxsize=1)
def _workload(spec: str) -> Workload:
    return load_workload(spec)


@functools.lru_cache(maxsize=1)
def _holdout(spec: str, data: str | None) -> Any:
    try:
        return _workload(spec).holdout_data(Path(data) if data else None)
    except FederationError:
        raise
    except Exception as error:  # whatever the user's workload raises
        raise UserCodeError(f"workload {spec!r}: its held-out data: {type(error).__name__}: {error}") from error
