"""The heavy work of a run, done by the orchestrator's own workers: the initial model, and the closing of a round."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algorithms import Algorithm, State, check_workload, load_algorithm
from compressors import Compressor, load_compressor
from compressors.updates import packed_spec
from orchestrator import judging
from orchestrator.aggregators import AggregationError, asks_for_root, load_aggregator
from orchestrator.config import RunConfig
from orchestrator.evaluation import evaluate, evaluate_if_due, share_of
from orchestrator.judging import Case, drop_outliers, judge
from orchestrator.mixers import load_mixer
from orchestrator.records import (
    ACCEPTED,
    ClosedRound,
    Evaluated,
    FilledSlot,
    HandedOut,
    OpenRound,
    PeerScores,
    SlotRecord,
    Surveyed,
)
from orchestrator.root_data import root_training
from orchestrator.run_folder import RunFolder
from orchestrator.taking_in import update_path
from orchestrator.updating import next_model, surveyed_sets
from tasks import arrays, blobs, names, sets
from tasks.arrays import Arrays, Spec
from tasks.blobs import BlobStore
from tasks.digests import digest_of_file
from tasks.errors import ArraysError, ConfigurationError
from tasks.messages import SurveyOrder
from tasks.seeds import derive_seed
from tasks.user_code import UserCodeError, check_arrays, user_code
from tasks.workload import Workload, load_workload
from verification.checks import (
    LARGEST_OF_MODEL,
    UpdateRejectedError,
    check_update,
    is_finite,
    too_large_whole,
    within_whole,
)

logger = logging.getLogger(__name__)

_NO_SCORES = PeerScores()
_BY_HOLDOUT = ("fltrust", "holdout")
"""Scorers that are nothing without held-out data of the orchestrator."""


def initialise(folder: RunFolder) -> Evaluated:
    """Write the initial model and return how good it is; done anew each time it is asked for.

    Raises:
        FederationError: If the workload or its data can't be loaded, or its model can't be trained here.
    """
    config = folder.config()
    load_aggregator(config.aggregator)
    for mixer in config.mix:
        load_mixer(mixer)
    workload = _workload(config.workload)
    algorithm = load_algorithm(config.algorithm)
    check_workload(algorithm, workload)
    _check_state(folder, algorithm)
    holdout = _holdout(config.workload, config.data)
    _check_root_data(config, holdout)
    _check_scorers(config, holdout)
    path = folder.checkpoint(0)
    model = arrays.map_file(path) if path.exists() else _initial_parameters(config, workload)
    with user_code("buffer_names()"):
        folder.save_buffers(workload.buffer_names())
    if compressor := load_compressor(config.compression):
        _check_compressor(compressor, config.compression, model)
    if not path.exists():
        arrays.write_file(path, model)
    return evaluate(workload, _examples(config), arrays.map_file(path))


def _check_state(folder: RunFolder, algorithm: Algorithm) -> None:
    """Check that the state a run goes on with is what its algorithm keeps, where that has once been something else.

    Raises:
        ConfigurationError: If it isn't.
    """
    path = folder.state(len(folder.history()))
    if not algorithm.keeps or not path.exists():
        return
    found = sorted(sets.split(arrays.map_file(path))[1])
    if found != sorted(algorithm.keeps):
        raise ConfigurationError(
            f"an earlier version of {algorithm.name} began the run in {folder.path}: it kept {', '.join(found)}, and "
            f"{', '.join(algorithm.keeps)} is needed: begin anew, with --initial-model {folder.checkpoint(0).parent} "
            "and a model's name if it is to go on from there"
        )


def _initial_parameters(config: RunConfig, workload: Workload) -> Arrays:
    """Return the model that the first round starts from, if it can be trained here."""
    with user_code("initial_parameters()"):
        parameters = workload.initial_parameters(derive_seed(config.seed, "initial parameters"))
    check_arrays(parameters, "initial_parameters() returned parameters")
    sets.check_names(parameters)
    if config.initial_model is not None:
        parameters = _model_in(Path(config.initial_model), arrays.spec_of(parameters))
    if wrong := too_large_whole(parameters, LARGEST_OF_MODEL):
        raise ConfigurationError(f"workload {config.workload!r}: its initial model: {wrong}")
    return parameters


def _model_in(path: Path, spec: Spec) -> Arrays:
    """Return the model in a file of the user's.

    Raises:
        ConfigurationError: If it can't be read, isn't one of the workload, or is not finite.
    """
    try:
        model = arrays.map_file(path)
        check_update(model, spec)
    except (OSError, ArraysError, UpdateRejectedError) as error:
        raise ConfigurationError(f"--initial-model {path}: {error}") from None
    return model


def _check_scorers(config: RunConfig, holdout: Any) -> None:
    """Refuse scorers that go by held-out data where there is none: each of the run's rounds would fail.

    Raises:
        ConfigurationError: If there is such a scorer.
    """
    wanting = [scorer for scorer in config.verify if scorer in _BY_HOLDOUT]
    if holdout is None and wanting:
        raise ConfigurationError(
            f"--verify {wanting[0]} goes by the orchestrator's held-out data, and workload {config.workload!r} has none"
        )


def score_as_it_comes(folder: RunFolder, round_number: int, client_id: str, record: SlotRecord) -> SlotRecord:
    """Return the record of an update that has just been taken in, with the scores that need no other update.

    Taking in must not fail: what can't be scored now is scored, or told, when the round is closed.
    """
    try:
        config = folder.config()
        if not config.verify:
            return record
        workload, holdout = _workload(config.workload), _holdout(config.workload, config.data)
        return judging.score_as_it_comes(Case(folder, config, round_number, workload, holdout), client_id, record)
    except Exception:  # whatever the user's workload raises
        logger.exception("round %d: the update of %s could not be scored as it came", round_number, client_id)
        return record


def close_survey(folder: RunFolder, opened: OpenRound, parts: Sequence[FilledSlot]) -> Surveyed:
    """Judge what came in a round's first exchange, and write the aggregate of what is accepted; with too little, fail.

    Asked for again, it comes to the same: what was taken in stays as it is.
    """
    config, number = folder.config(), opened.round_number
    records = {part.client_id: part.record for part in sorted(parts, key=lambda part: part.client_id)}
    records = drop_outliers(folder, number, records, SurveyOrder.name)
    counted = {client_id: record for client_id, record in records.items() if record.is_accepted}
    left_out = {client_id: record for client_id, record in records.items() if not record.is_accepted}
    try:
        if len(counted) < config.min_updates:
            raise ValueError(f"{len(counted)} clients are left, {config.min_updates} are needed (--min-updates)")
        aggregate = sets.join({}, surveyed_sets(folder, opened, counted))
        if not all(is_finite(values) for values in aggregate.values()):
            raise ValueError("what came aggregates to values that are NaN or infinite")
    except (AggregationError, ValueError, ArithmeticError) as error:
        reason = f"the exchange before training: {error}"
        return Surveyed(left_out=left_out, failed=_failed(folder, number, records, reason))
    digest = arrays.write_file(folder.surveyed(number), aggregate)
    bytes_up = sum(record.size_bytes for record in counted.values())
    return Surveyed(left_out=left_out, bytes_up=bytes_up, digest=digest)


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
        parameters, state = next_model(
            folder,
            round_number,
            {client_id: answers[client_id] for client_id in accepted},
            opened=folder.open_round(),
            train_root=root_training(folder, round_number, workload, holdout),
        )
    except (AggregationError, UserCodeError) as error:
        logger.exception("round %d can't be aggregated", round_number)
        return _failed(folder, round_number, answers, str(error))
    except (ValueError, ArithmeticError) as error:  # numbers that clients sent, and that nothing can be made of
        logger.exception("round %d can't be aggregated", round_number)
        return _failed(folder, round_number, answers, f"its updates can't be aggregated: {error}")
    parameters = within_whole(parameters)
    if not all(is_finite(values) for values in sets.join(parameters, state).values()):
        return _failed(folder, round_number, answers, "its updates aggregate to values that are NaN or infinite")
    state_digest = _write_state(folder.state(round_number), state)
    digest = arrays.write_file(folder.checkpoint(round_number), parameters)
    evaluated = evaluate_if_due(config, round_number, workload, _examples(config), parameters)
    return ClosedRound(status="closed", answers=answers, digest=digest, state_digest=state_digest, evaluated=evaluated)


def hand_out(folder: RunFolder, store: BlobStore, round_number: int, parts: Sequence[FilledSlot]) -> HandedOut:
    """Put a round's updates where other clients can read them; their names don't tell whose they are."""
    run_id = folder.config().run_id
    accepted = sorted(part.client_id for part in parts if part.record.status in ACCEPTED)
    updates = {}
    for number, client_id in enumerate(accepted):
        parameters, _ = sets.split(arrays.map_file(update_path(folder, round_number, client_id)))
        name = names.handed_out_blob(run_id, round_number, number)
        updates[client_id] = blobs.publish(store, name, arrays.encode(parameters))
    return HandedOut(parts=list(parts), updates=updates)


def _check_root_data(config: RunConfig, holdout: Any) -> None:
    """Check that an aggregator which trains on the orchestrator's data has some, and something to compare it with.

    Raises:
        ConfigurationError: If it hasn't.
    """
    if not asks_for_root(load_aggregator(config.aggregator)):
        return
    if load_algorithm(config.algorithm).survey is not None:
        raise ConfigurationError(
            f"--aggregator {config.aggregator} compares what clients send with what the orchestrator trains, and "
            f"--algorithm {config.algorithm} asks them for something else first: these two don't go together"
        )
    if holdout is None:
        raise ConfigurationError(
            f"--aggregator {config.aggregator} trains on data that the orchestrator holds out, and workload "
            f"{config.workload!r} has none: allowed is one whose holdout_data returns some, or another aggregator"
        )


def _check_compressor(compressor: Compressor, spec: str, model: Arrays) -> None:
    """Check that a compressor, of the user's own maybe, says what it makes of the model's arrays.

    Raises:
        ConfigurationError: If it doesn't.
    """
    try:
        arrays.encoded_size(packed_spec(compressor, arrays.spec_of(model)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"compression {spec!r} fails at this model's arrays: {reason}") from error


def _failed(folder: RunFolder, round_number: int, answers: dict[str, SlotRecord], reason: str) -> ClosedRound:
    """Keep the model, and the algorithm's state, as they were."""
    digest = _keep(folder.checkpoint(round_number - 1), folder.checkpoint(round_number))
    former, path = folder.state(round_number - 1), folder.state(round_number)
    path.unlink(missing_ok=True)
    state_digest = _keep(former, path) if former.exists() else ""
    return ClosedRound(status="failed", reason=reason, answers=answers, digest=digest, state_digest=state_digest)


def _write_state(path: Path, state: State) -> str:
    """Write an algorithm's state and return its digest; where it has none, leave none of a former attempt either."""
    if state:
        return arrays.write_file(path, sets.join({}, state))
    path.unlink(missing_ok=True)
    return ""


def _keep(previous: Path, path: Path) -> str:
    path.unlink(missing_ok=True)
    os.link(previous, path)
    return digest_of_file(path)


@functools.lru_cache(maxsize=1)
def _workload(spec: str) -> Workload:
    return load_workload(spec)


@functools.lru_cache(maxsize=1)
def _holdout(spec: str, data: str | None) -> Any:
    with user_code("holdout_data()"):
        return _workload(spec).holdout_data(Path(data) if data else None)


def _examples(config: RunConfig) -> Any:
    """Return the held-out examples that models are evaluated on; those that judge updates are all of them."""
    return share_of(_holdout(config.workload, config.data), config.evaluate_share, config.seed)
