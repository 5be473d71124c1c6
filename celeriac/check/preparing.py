"""What a workload prepares of clients' statistics, before there is a model."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from celeriac.check.data import TriedClient, load_client
from celeriac.check.trial import NUM_CLIENTS, Note, Said, Trial
from tasks.messages import Status
from tasks.orders.statistics import DEFAULT_MIN_COUNT, StatisticsResponse
from tasks.run_config import with_defaults
from tasks.statistics import put_together
from tasks.summarising import tell
from tasks.user_code import checked_prepared
from tasks.workload import wants_statistics


def try_prepare(trial: Trial) -> Generator[Said, None, Trial]:
    """Try ``columns`` and ``prepare`` where the workload has the latter; return the trial with its settings."""
    workload = trial.workload()
    if not wants_statistics(workload):
        return trial
    num_clients = NUM_CLIENTS if workload.splits_data else 1
    told = put_together([_told(trial, load_client(trial, index)) for index in range(num_clients)])
    settings = checked_prepared(trial.call("prepare()", workload.prepare, told, trial.context(workload)))
    with_defaults(workload.run_config, settings)
    yield Note("prepare", f"{', '.join(settings) or 'nothing'}, of {len(told.columns)} columns")
    return replace(trial, run_config={**settings, **trial.run_config})


def _told(trial: Trial, client: TriedClient) -> StatisticsResponse:
    """Return what a client tells of its columns."""
    columns = trial.call("columns()", client.workload.columns, client.data)
    said = {"order_id": "check", "client_id": client.client_id, "status": Status.DONE}
    return StatisticsResponse.model_validate({**said, **tell(columns, DEFAULT_MIN_COUNT)})
