"""Making a run's initial model, and refusing what can't be trained here before its first round."""

from __future__ import annotations

from pathlib import Path

from celeriac.aggregators import asks_for_root
from celeriac.algorithms import check_optimizer, check_workload
from celeriac.compressors.updates import packed_spec
from orchestrator.config import PEERS
from orchestrator.jobs.evaluation import evaluate
from orchestrator.jobs.job import Job
from orchestrator.store.facts import BUFFERS, METRICS, PREPARED, RESULTS, STATISTICS
from orchestrator.store.records import Evaluated
from tasks import arrays, auxiliary, results
from tasks.arrays import Arrays, Spec
from tasks.described import described
from tasks.errors import ArraysError, ConfigurationError
from tasks.run_config import RunSettings, with_defaults
from tasks.statistics import Statistics
from tasks.user_code import (
    checked_buffers,
    checked_declared,
    checked_parameters,
    checked_prepared,
    declared_results,
    user_code,
)
from tasks.workload import wants_statistics
from verification import SCORERS
from verification.checks import LARGEST_OF_MODEL, UpdateRejectedError, check_update, too_large_whole

_BY_HOLDOUT = ("fltrust", "holdout")
"""Scorers that are nothing without held-out data of the orchestrator."""


def make_model(job: Job) -> Evaluated:
    """Write the initial model and return how good it is; done anew each time it is asked for.

    Where the workload goes by clients' statistics and nobody has asked for them yet, that is all that is returned.

    Raises:
        FederationError: If the workload or its data can't be loaded, or its model can't be trained here.
    """
    _ = job.aggregator, job.mixers  # what is named and isn't there is told before anything is made
    workload = job.workload
    for round_number in range(1, job.config.rounds + 1 if job.config.schedule else 1):
        with_defaults(workload.run_config, job.config.in_round(round_number).run_config)
    check_workload(job.algorithm, workload)
    if wants_statistics(workload) and not PREPARED.of(job.folder):
        statistics = STATISTICS.of(job.folder)
        if statistics is None:
            return Evaluated(wants_statistics=True)
        PREPARED.note(job.folder, _prepared(job, statistics))
    with user_code("build_optimizer()"):
        check_optimizer(job.algorithm, workload.optimizer_name(job.context("optimizer")))
    _check_state(job)
    _check_root_data(job)
    _check_scorers(job)
    path = job.folder.checkpoint(0)
    model = arrays.map_file(path) if path.exists() else _initial_parameters(job)
    _check_without_parameters(job, model)
    with user_code("buffer_names()"):
        BUFFERS.note(job.folder, sorted(checked_buffers(workload.buffer_names(job.context("buffer names")))))
    METRICS.note(job.folder, dict(checked_declared(workload)))
    RESULTS.note(job.folder, dict(declared_results(workload, job.context("results"))))
    _check_compressor(job, model)
    if not path.exists():
        arrays.write_file(path, model)
    return evaluate(job, arrays.map_file(path))


def _prepared(job: Job, statistics: Statistics) -> RunSettings:
    """Return the settings that the workload makes of what clients told.

    Raises:
        ConfigurationError: If it can make none.
        UserCodeError: If it returns something else.
    """
    with user_code("prepare()"):
        settings = checked_prepared(job.workload.prepare(statistics, job.context("prepare")))
    with_defaults(job.workload.run_config, settings)
    return settings


def _check_state(job: Job) -> None:
    """Check that the state a run goes on with is what its algorithm keeps, where that has once been something else.

    Raises:
        ConfigurationError: If it isn't.
    """
    algorithm, folder = job.algorithm, job.folder
    path = folder.state(len(folder.history()))
    if not algorithm.keeps or not path.exists():
        return
    found = sorted(auxiliary.split(results.split(arrays.map_file(path))[0])[1])
    if found != sorted(algorithm.keeps):
        raise ConfigurationError(
            f"an earlier version of {algorithm.name} began the run in {folder.path}: it kept {', '.join(found)}, and "
            f"{', '.join(algorithm.keeps)} is needed: begin anew, with --initial-model {folder.checkpoint(0).parent} "
            "and a model's name if it is to go on from there"
        )


def _initial_parameters(job: Job) -> Arrays:
    """Return the model that the first round starts from, if it can be trained here."""
    config = job.config
    with user_code("initial_parameters()"):
        returned = job.workload.initial_parameters(job.context("initial parameters"))
    declared = declared_results(job.workload, job.context("results"))
    parameters = checked_parameters(returned, may_be_none=bool(declared))
    if config.initial_model is not None:
        parameters = _model_in(Path(config.initial_model), None if job.algorithm.grows else arrays.spec_of(parameters))
    if wrong := too_large_whole(parameters, LARGEST_OF_MODEL):
        raise ConfigurationError(f"workload {config.workload!r}: its initial model: {wrong}")
    return parameters


def _model_in(path: Path, spec: Spec | None) -> Arrays:
    """Return the model in a file of the user's, of this spec if its shapes are given.

    Raises:
        ConfigurationError: If it can't be read, isn't one of the workload, or is not finite.
    """
    try:
        model = arrays.map_file(path)
        check_update(model, spec or arrays.spec_of(model))
    except (OSError, ArraysError, UpdateRejectedError) as error:
        raise ConfigurationError(f"--initial-model {path}: {error}") from None
    return model


def _check_root_data(job: Job) -> None:
    """Check that an aggregator which trains on the orchestrator's data has some, and something to compare it with.

    Raises:
        ConfigurationError: If it hasn't.
    """
    config, holdout = job.config, job.holdout
    if not asks_for_root(job.aggregator):
        return
    if job.algorithm.survey is not None:
        raise ConfigurationError(
            f"--aggregator {config.aggregator} compares what clients send with what the orchestrator trains, and "
            f"--algorithm {config.algorithm} asks them for something else first: these two don't go together"
        )
    if holdout is None:
        raise ConfigurationError(
            f"--aggregator {config.aggregator} trains on data that the orchestrator holds out, and workload "
            f"{config.workload!r} has none: allowed is one whose holdout_data returns some, or another aggregator"
        )


def _check_scorers(job: Job) -> None:
    """Refuse scorers that go by held-out data where there is none: each of the run's rounds would fail.

    Raises:
        ConfigurationError: If there is such a scorer.
    """
    config = job.config
    wanting = [scorer for scorer in config.verify if scorer in _BY_HOLDOUT]
    if job.holdout is None and wanting:
        raise ConfigurationError(
            f"--verify {wanting[0]} goes by the orchestrator's held-out data, and workload {config.workload!r} has none"
        )


def _check_without_parameters(job: Job, model: Arrays) -> None:
    """Refuse what goes by the parameters in updates where these carry none: the algorithm says so, or has no model.

    Raises:
        ConfigurationError: If there is such an option.
    """
    config = job.config
    if job.algorithm.sends_parameters and (model or job.algorithm.grows):
        return
    chosen = {
        "--aggregator": config.aggregator if config.aggregator != "mean" else "",
        "--mix": ",".join(config.mix),
        "--verify": ",".join(scorer for scorer in config.verify if scorer in (*SCORERS, PEERS)),
        "--compression": config.compression if job.compressor else "",
    }
    if wrong := [f"{option} {value}" for option, value in chosen.items() if value]:
        why = f"those of --algorithm {config.algorithm} carry none"
        if job.algorithm.sends_parameters:
            why = f"workload {config.workload!r} has no model"
        raise ConfigurationError(f"{wrong[0]} goes by the parameters in updates, and {why}: leave it out")


def _check_compressor(job: Job, model: Arrays) -> None:
    """Check that the compressor, of the user's own maybe, says what it makes of the model's arrays.

    Raises:
        ConfigurationError: If it doesn't.
    """
    compressor = job.compressor
    if compressor is None:
        return
    try:
        arrays.encoded_size(packed_spec(compressor, arrays.spec_of(model)))
    except Exception as error:
        raise ConfigurationError(
            f"compression {job.config.compression!r} fails at this model's arrays: {described(error)}"
        ) from error
