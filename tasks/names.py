"""Names of tasks, and what names of clients, runs and updates look like; what is on the broker: :mod:`tasks.scope`."""

from __future__ import annotations

import re

from tasks.errors import ConfigurationError

INITIALISE_TASK = "orchestrator.initialise"
INGEST_TASK = "orchestrator.ingest"
INGEST_ANYWHERE_TASK = "orchestrator.ingest_anywhere"
SUM_GROUP_TASK = "orchestrator.sum_group"
CLOSE_SURVEY_TASK = "orchestrator.close_survey"
VERIFY_UPDATES_TASK = "orchestrator.verify"
CLOSE_ROUND_TASK = "orchestrator.close_round"
EVALUATE_MODEL_TASK = "orchestrator.evaluate"

RUN_VARIABLE = "ORCHESTRATOR_RUN"
"""Variable by which a worker of an orchestrator's is told of a run that it is for alone."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""What ids of clients and runs look like: they stand in keys, queues' names and files' names."""
_ID = re.compile(ID_PATTERN)


def order_task(kind: str) -> str:
    """Return the name of the task that carries orders of a kind."""
    return f"worker.{kind}"


def check_client_id(client_id: str) -> str:
    """Return ``client_id`` if it can stand in a key, a queue's name and a file's name.

    Raises:
        ConfigurationError: If it can't.
    """
    if not _ID.fullmatch(client_id):
        raise ConfigurationError(
            f"client id {client_id!r}: 1 to 64 letters, digits, '.', '_' or '-' are allowed, a letter or digit first"
        )
    return client_id


def numbered_client_id(prefix: str, index: int, count: int) -> str:
    """Id of client ``index`` (from 0) of ``count`` that go by one prefix; ids sort as their numbers do."""
    return f"{prefix}-{index + 1:0{len(str(count))}d}"


def numbered_client_ids(prefix: str, count: int) -> str:
    """Return the pattern of the ids of ``count`` clients that go by one prefix: as many digits as they have."""
    return f"{prefix}-{'[0-9]' * len(str(count))}"


def update_name(round_number: int, digest: str) -> str:
    """Return what tells one update of a client from all others that it made: its round, and its digest in short."""
    return f"{round_number:04d}-{digest[:16]}"
