"""Whose what is on the broker: the one place that spells its keys, queues, locks and the ids of tasks.

What belongs to a run, or to a client, is named by an object of that run or client, and has its id in its name, behind
the word for what it is: no client's name is a run's, whatever their ids. All that a client writes begins with its id
behind such a beginning, so that an access rule can pin it to that.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from tasks.names import ID_PATTERN, numbered_client_id

ORCHESTRATOR_QUEUE = "orchestrator"
"""Queue of workers of orchestrators' that no run is on for; those of runs begin with it."""
REPLIES = "reply.celery.pidbox"
"""The end of the queues of who asks workers something by Celery's tools."""
KEYS_OF_TOOLS = "*.celery.pidbox", "celeryev.*"
"""Patterns of the queues of Celery's tools, and of the workers that they ask."""
RUN_LOCK_KEY = "fl:federation"
"""The notices of the runs that are on."""
PRESENCE_CHANNEL = "fl:presence"
CLIENT_KEY_PREFIX = "fl:client:"
PART_KEY_PREFIX = "fl:part:"
WANTS_PART_PREFIX = "fl:wants-part:"
_BLOB = "fl:blob:"
_MODEL, _HANDED_OUT, _UPDATE = f"{_BLOB}model/", f"{_BLOB}handed-out/", f"{_BLOB}update/"
_WORKERS = f"{_BLOB}workers/"
"""Beginning of the names of blobs that the orchestrator's own workers alone read."""
BLOB_KEYS = f"{_BLOB}*"
"""Pattern of the keys of all blobs' chunks."""
SHOWN_BLOB_KEYS = f"{_MODEL}*", f"{_HANDED_OUT}*"
"""Patterns of the keys of blobs' chunks that every client may read."""
_OF_UPDATE = re.compile(rf"{_UPDATE}[^/]+/[^/]+/[0-9]{{1,9}}(?:/survey)?:(?:turn|(?P<index>[0-9]{{1,9}}))")
_OF_RUN = re.compile(rf"(?:{_MODEL}|{_HANDED_OUT}|{_WORKERS}|{_UPDATE}[^/]+/)(?P<run_id>[^/]+)/")
_RESULT = "celery-task-meta-"
_CHORD = "celery-taskset-meta-"
_RESULT_OR_CHORD = "celery-t*-meta-"
ALL_KEYS = "fl:*", ORCHESTRATOR_QUEUE, f"{ORCHESTRATOR_QUEUE}.*", "client.*", "clients.*", f"{_RESULT}*", f"{_CHORD}*"
"""Patterns of all keys that there are."""
_RUN = "run/"
"""Beginning of the ids of tasks of a run's own."""
_ID = re.compile(ID_PATTERN)
_CLIENT = "client/"
"""Beginning of the ids of orders."""


@dataclass(frozen=True, slots=True)
class RunScope:
    """What belongs to a run.

    Attributes:
        run_id: The run.
    """

    run_id: str

    @property
    def queue(self) -> str:
        """Queue of the tasks of the orchestrator's own workers."""
        return f"{ORCHESTRATOR_QUEUE}.{self.run_id}"

    @property
    def anywhere_queue(self) -> str:
        """Queue of those of these tasks that need no folder of the run; no run's id has a slash."""
        return f"{self.queue}/anywhere"

    @property
    def mark_key(self) -> str:
        """Key of the mark by which the orchestrator sees whether the broker still knows what it was told."""
        return f"fl:mark:{self.run_id}"

    @property
    def folder_key(self) -> str:
        """Key with the run's folder: own workers on machines that don't have it leave the run's tasks to others."""
        return f"fl:folder:{self.run_id}"

    @property
    def store_key(self) -> str:
        """Key with the URL of the run's blobs, if anybody reaches them by it; for own workers without its folder."""
        return f"fl:store:{self.run_id}"

    @property
    def elsewhere_key(self) -> str:
        """Key with a sign of life of each own worker that doesn't have the run's folder."""
        return f"fl:elsewhere:{self.run_id}"

    @property
    def result_keys(self) -> str:
        """Pattern of the keys and channels of results of the run's tasks, orders included."""
        return f"{_RESULT}*/{self.run_id}/*"

    @property
    def blobs(self) -> tuple[str, ...]:
        """Patterns of the names of the run's blobs, its clients' included."""
        return *(f"{own}*" for own in self.own_blobs), f"{_UPDATE}*/{self.run_id}/*"

    @property
    def own_blobs(self) -> tuple[str, ...]:
        """Beginnings of the names of the run's blobs that are none of a client's."""
        return f"{_MODEL}{self.run_id}/", f"{_HANDED_OUT}{self.run_id}/", f"{_WORKERS}{self.run_id}/"

    @property
    def results_and_chords(self) -> str:
        """Pattern of the keys of results and chords of the run's tasks."""
        return f"{_RESULT_OR_CHORD}*/{self.run_id}/*"

    @property
    def initialise_id(self) -> str:
        """Return the id of the task that makes the initial model."""
        return f"{_RUN}{self.run_id}/initialise"

    def evaluate_id(self, round_number: int) -> str:
        """Return the id of the task that evaluates the model that a round ended with."""
        return f"{_RUN}{self.run_id}/{round_number}/evaluate"

    def new_close_id(self, round_number: int) -> str:
        """Return a new id for a task that closes a round and is no chord's body."""
        return f"{self.new_chord_id(round_number)}/close"

    def new_chord_id(self, round_number: int) -> str:
        """Return a new id for a chord of a round; of those that were started before, nothing counts any more."""
        return f"{_RUN}{self.run_id}/{round_number}/{secrets.token_hex(4)}"

    def model(self, after_round: int) -> str:
        """Name of the blob with the model that round ``after_round`` ended with."""
        return f"{_MODEL}{self.run_id}/{after_round}"

    def broadcast(self, after_round: int) -> str:
        """Name of the blob with what an algorithm sends along with that model."""
        return f"{self.model(after_round)}/broadcast"

    def surveyed(self, round_number: int) -> str:
        """Name of the blob with the aggregate of a round's first exchange, which goes out with its train orders."""
        return f"{self.model(round_number)}/surveyed"

    def round_files(self, round_number: int) -> str:
        """Name of the blob with what jobs of a round need of the run's folder, where that isn't at hand."""
        return f"{_WORKERS}{self.run_id}/{round_number}/files"

    def round_start(self, round_number: int) -> str:
        """Name of the blob with the model that a round starts from, where clients are given a compressed one."""
        return f"{_WORKERS}{self.run_id}/{round_number}/start"

    def group_sum(self, round_number: int, group: str) -> str:
        """Name of the blob with the sum of a group of a round's updates."""
        return f"{_WORKERS}{self.run_id}/{round_number}/sum/{group}"

    def new_handed_out(self) -> str:
        """Return a new name for a blob with an update that another client is to read.

        It tells nothing of whose it is, nobody can guess it, and it lies beside what all may read.
        """
        return f"{_HANDED_OUT}{self.run_id}/{secrets.token_hex(16)}"

    @property
    def all_handed_out(self) -> str:
        """Pattern of the names of the blobs with updates that other clients read."""
        return f"{_HANDED_OUT}{self.run_id}/*"


@dataclass(frozen=True, slots=True)
class ClientScope:
    """What belongs to a client.

    Attributes:
        client_id: The client.
    """

    client_id: str

    @property
    def queue(self) -> str:
        """Queue that the client's worker consumes, if it serves no other."""
        return f"client.{self.client_id}"

    @property
    def key(self) -> str:
        """Key under which the client announces itself; it expires unless refreshed."""
        return f"{CLIENT_KEY_PREFIX}{self.client_id}"

    @property
    def away_key(self) -> str:
        """Key that exists as long as the client was told to stay away."""
        return f"fl:away:{self.client_id}"

    @property
    def part_key(self) -> str:
        """Key with which part of a shared data set the client has, like ``0/4``, counted from 0.

        It outlives a run, as a client that stays connected keeps its part.
        """
        return f"{PART_KEY_PREFIX}{self.client_id}"

    @property
    def passed_over_key(self) -> str:
        """Key with why the client takes no part in a run that is on; it expires."""
        return f"fl:passed-over:{self.client_id}"

    @property
    def wants_part_key(self) -> str:
        """Key that exists as long as the client waits for a part; it expires soon."""
        return f"{WANTS_PART_PREFIX}{self.client_id}"

    @property
    def results(self) -> str:
        """Pattern of the keys of the answers to the client's orders, and of the channels that tell of them."""
        return result_key(f"{_CLIENT}{self.client_id}/*")

    @property
    def update_keys(self) -> str:
        """Pattern of the keys of the client's updates, and of its turns to send them."""
        return f"{_UPDATE}{self.client_id}/*"

    def order_id(self, run_id: str, round_number: int, kind: str) -> str:
        """Id of an order, and of the Celery task that carries it: the same every time it is asked for."""
        return f"{_CLIENT}{self.client_id}/{run_id}/{round_number}/{kind}"

    def update(self, run_id: str, round_number: int) -> str:
        """Name of the blob with the client's update of a round."""
        return f"{_UPDATE}{self.client_id}/{run_id}/{round_number}"

    def survey(self, run_id: str, round_number: int) -> str:
        """Name of the blob with what the client sends in a round's first exchange."""
        return f"{self.update(run_id, round_number)}/survey"


def client_queue(client_id: str) -> str:
    """Return the queue of a client whose worker serves no other."""
    return ClientScope(client_id).queue


_SHARED_QUEUE = "clients."


def shared_queue(prefix: str, count: int) -> str:
    """Queue of a worker that serves ``count`` clients by the ids of :func:`tasks.names.numbered_client_id`."""
    return f"{_SHARED_QUEUE}{prefix}.{count}"


def is_served_by(client_id: str, queue: str) -> bool:
    """Say whether a client is one of those that a shared queue is for: nobody else has a say in what goes there."""
    prefix, _, count = queue.removeprefix(_SHARED_QUEUE).rpartition(".")
    number = client_id.removeprefix(f"{prefix}-")
    if not (queue.startswith(_SHARED_QUEUE) and prefix and count.isdecimal() and number.isdecimal()):
        return False
    return 1 <= int(number) <= int(count) and numbered_client_id(prefix, int(number) - 1, int(count)) == client_id


def owner_of_blob(key: str) -> str:
    """Return the client whose a chunk is that is kept under a key, be it an update's or not."""
    return key.removeprefix(_UPDATE).removeprefix(_BLOB).partition("/")[0]


def run_of_blob(key: str) -> str:
    """Return the run that a chunk is of that is kept under a key, be it its own or an update's; empty: of none."""
    match = _OF_RUN.match(key)
    return match["run_id"] if match else ""


_OWN = re.compile(
    rf"(?:{_RESULT}{_CLIENT}|{CLIENT_KEY_PREFIX}|{WANTS_PART_PREFIX}|fl:away:)(?P<owner>[^/]+)(?:/.*)?", re.DOTALL
)
_QUEUE = re.compile(rf"client\.(?P<owner>[^/]+)|{re.escape(_SHARED_QUEUE)}(?P<prefix>[^/]+)\.[0-9]+")


def owner_of_key(key: bytes) -> str:
    """Return the client who alone writes to a key that is no blob's; empty if there is none."""
    match = _OWN.fullmatch(key.decode("utf-8", "replace"))
    return match["owner"] if match else ""


def taker_of_queue(key: bytes) -> str:
    """Return the client, or what the ids of a worker's begin with, that takes from a queue; empty if it is none."""
    match = _QUEUE.fullmatch(key.decode("utf-8", "replace"))
    return (match["owner"] or match["prefix"]) if match else ""


def run_of_task(task_id: str) -> str:
    """Return the run that a task of the orchestrator's own is of; empty if it is none."""
    return task_id.removeprefix(_RUN).partition("/")[0] if task_id.startswith(_RUN) else ""


def who_wants_part(told: bytes) -> str:
    """Return the client that asks for a part, as a message on the channel of presence tells; empty if it is another."""
    text = told[:200].decode("ascii", "replace")
    client_id = text.removeprefix(WANTS_PART_PREFIX)
    return client_id if client_id != text and _ID.fullmatch(client_id) else ""


def index_in_update(key: str) -> int | None:
    """Return which chunk of an update it is that is kept under a key; None if an update has no such key."""
    match = _OF_UPDATE.fullmatch(key)
    return int(match["index"] or 0) if match else None


def turn_key(update: str) -> str:
    """List by which a client is told that it is its turn to send the update that goes to the blob of this name."""
    return f"{update}:turn"


def result_key(task_id: str) -> str:
    """Key under which Celery's Redis backend keeps a task's result; it's also the channel that tells of it."""
    return f"{_RESULT}{task_id}"


def chord_keys(chord_id: str) -> list[str]:
    """Keys under which it is kept which parts of a chord are done, and how many it has."""
    return [f"{_CHORD}{chord_id}{end}" for end in (".d", ".s")]


def body_id(chord_id: str) -> str:
    """Id of the task that is a chord's body."""
    return f"{chord_id}/body"


def part_id(chord_id: str, index: int) -> str:
    """Id of the task that fills slot ``index`` of a chord."""
    return f"{chord_id}/{index}"
