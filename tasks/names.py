"""Names of queues, keys and tasks: the one place that knows how they are spelled.

Whatever a client writes lies under a name that holds its id, so that an access rule can pin it to that.
"""

from __future__ import annotations

import re

from tasks.errors import ConfigurationError

SURVEY_TASK = "worker.survey"
TRAIN_TASK = "worker.train"
EVALUATE_TASK = "worker.evaluate"
VERIFY_TASK = "worker.verify"
SET_PARAMETERS_TASK = "worker.set_parameters"
DISCONNECT_TASK = "worker.disconnect"

ORCHESTRATOR_QUEUE = "orchestrator"
INITIALISE_TASK = "orchestrator.initialise"
INGEST_TASK = "orchestrator.ingest"
CLOSE_SURVEY_TASK = "orchestrator.close_survey"
HAND_OUT_TASK = "orchestrator.hand_out"
CLOSE_ROUND_TASK = "orchestrator.close_round"

FEDERATION_KEY = "fl:federation"
PRESENCE_CHANNEL = "fl:presence"
CLIENT_KEY_PREFIX = "fl:client:"

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""What ids of clients and runs look like: they stand in keys, queues' names and files' names."""
_ID = re.compile(ID_PATTERN)


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


def client_queue(client_id: str) -> str:
    """Queue that the worker of ``client_id`` consumes, if it serves no other."""
    return f"client.{client_id}"


def shared_queue(prefix: str, count: int) -> str:
    """Queue that a worker consumes which serves ``count`` clients by the ids of :func:`numbered_client_id`."""
    return f"clients.{prefix}.{count}"


def client_key(client_id: str) -> str:
    """Key under which ``client_id`` announces itself; it expires unless refreshed."""
    return f"{CLIENT_KEY_PREFIX}{client_id}"


def away_key(client_id: str) -> str:
    """Key that exists as long as ``client_id`` was told to stay away."""
    return f"fl:away:{client_id}"


def passed_over_key(client_id: str) -> str:
    """Key with why ``client_id`` takes no part in the run that is on; it expires."""
    return f"fl:passed-over:{client_id}"


def unacked_key(kind: str, queue: str) -> str:
    """Key of what a queue's worker has taken and not acknowledged yet; kombu has three kinds of it."""
    return f"fl:{kind}:{queue}"


def mark_key(run_id: str) -> str:
    """Key of the mark by which a run's orchestrator sees whether the broker still knows what it was told."""
    return f"fl:mark:{run_id}"


def leases_key(num_parts: int) -> str:
    """Hash of leases (part number from 0 -> client id), for clients that share one data set in so many parts.

    It outlives a run, as a client that stays connected keeps its part.
    """
    return f"fl:seats:{num_parts}"


def order_id(client_id: str, run_id: str, round_number: int, kind: str) -> str:
    """Id of an order, and of the Celery task that carries it: the same every time it is asked for."""
    return f"{client_id}/{run_id}/{round_number}/{kind}"


def result_key(task_id: str) -> str:
    """Key under which Celery's Redis backend keeps a task's result; it's also the channel that tells of it."""
    return f"celery-task-meta-{task_id}"


def chord_keys(group_id: str) -> list[str]:
    """Keys under which Celery's Redis backend keeps what it knows of a chord."""
    return [f"celery-taskset-meta-{group_id}{end}" for end in (".j", ".t", ".s", ".d", ".c")]


def global_blob(run_id: str, round_number: int) -> str:
    """Name of the blob with the model that round ``round_number`` starts from."""
    return f"fl:blob:{run_id}/{round_number}"


def broadcast_blob(run_id: str, after_round: int) -> str:
    """Name of the blob with what an algorithm sends along with the model that round ``after_round`` ended with."""
    return f"fl:blob:{run_id}/{after_round}/broadcast"


def surveyed_blob(run_id: str, round_number: int) -> str:
    """Name of the blob with the aggregate of a round's first exchange, which goes out with its train orders."""
    return f"fl:blob:{run_id}/{round_number}/surveyed"


def handed_out_blob(run_id: str, round_number: int, number: int) -> str:
    """Name of the blob with an update that is handed out for another client to score; it doesn't tell whose it is."""
    return f"fl:blob:{run_id}/{round_number}/update/{number}"


def update_name(round_number: int, digest: str) -> str:
    """Return what tells one update of a client from all others that it made: its round, and its digest in short."""
    return f"{round_number:04d}-{digest[:16]}"


def turn_key(update_blob_name: str) -> str:
    """List by which a client is told that it is its turn to send this update."""
    return f"{update_blob_name}:turn"


def update_blob(client_id: str, run_id: str, round_number: int) -> str:
    """Name of the blob with ``client_id``'s update of a round."""
    return f"fl:blob:{client_id}/{run_id}/{round_number}"


def survey_blob(client_id: str, run_id: str, round_number: int) -> str:
    """Name of the blob with what ``client_id`` sends in a round's first exchange."""
    return f"{update_blob(client_id, run_id, round_number)}/survey"
