"""Transport: how orders go out, how answers come back, and how a chord is fed.

What is sent is made here, once; a subclass carries it. ``over_redis`` talks to real workers; ``eager`` is its twin in
memory, which carries everything out at once in this process, through Celery's eager mode.

A chord is fed from the orchestrator's side: own workers take answers in as its parts, and its size is set before the
last of them is sent. Clients are never members of it, so none sees another's answer or can start the body.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from celery import Celery

from orchestrator.store.records import RoundRecord
from orchestrator.transport.responses import read_response
from orchestrator.transport.results import MAX_RESULT_BYTES
from orchestrator.transport.sending import Call
from orchestrator.transport.signatures import Signatures
from tasks.announcement import Announcement, PassedOver
from tasks.blobs.blob import BlobStore
from tasks.broker.turns import GO
from tasks.messages import MAX_COUNT, Order, Response, encode
from tasks.names import order_task
from tasks.scope import RunScope, body_id, client_queue, part_id

Kwargs = Mapping[str, object]

TICK_S = 1.0
"""Seconds between two looks at clients and own workers, when nothing else happens."""


class Lost(Enum):
    """What has been lost since the last look, and must be done or sent again."""

    NOTHING = "nothing"
    OWN_WORK = "what an own worker was doing"
    ALL = "all that was on the broker"


@dataclass(frozen=True, slots=True)
class RunServices:
    """How a run reaches its clients and its own workers: the entry points put it together.

    Attributes:
        transport: Carries orders and answers.
        present: Returns all live announcements of clients by client id.
        tell: Tells clients why they take no part in the run.
        blobs: Where blobs are.
        broker_time: Returns the seconds since 1970 by the broker's clock.
        poll: Called at least every ``TICK_S``: keeps up what has to be kept up; True if what an own worker was doing
            may be lost: it had to be started anew, or the connection was lost, and with it what was being taken.
        tidy: Removes what the run left on the broker, when it is over.
        forgot: Says whether the broker has forgotten all that was on it since this was last asked.
        remove_strays: Removes what clients have put beside updates where blobs are, and all that those have who have
            more than this many bytes there; returns who has, and how much.
        broker_room: Returns the bytes that the broker has room for; None if it carries no blobs, or doesn't say.
        cut_off_overbearing: Cuts off from the broker the clients that take too much of it; returns which, and why.
        cut_off: Cuts a client off from the broker, for a reason, where clients have users of their own there.
        note_round: Notes a closed round in the audit trail, if there is one.
        others_s: Returns the seconds for which orders of other runs may keep a client from this run's.
        num_elsewhere: Returns how many own workers there are that don't have the run's folder, and may work for it.
    """

    transport: Transport
    present: Callable[[], Mapping[str, Announcement]]
    tell: Callable[[PassedOver], None]
    blobs: BlobStore
    broker_time: Callable[[], float]
    poll: Callable[[], bool]
    tidy: Callable[[], None]
    forgot: Callable[[], bool] = lambda: False
    remove_strays: Callable[[int], Mapping[str, int]] = lambda _: {}
    broker_room: Callable[[], float | None] = lambda: None
    cut_off_overbearing: Callable[[], Mapping[str, str]] = dict
    cut_off: Callable[[str, str], object] = lambda _client_id, _reason: None
    note_round: Callable[[RoundRecord], None] = lambda _: None
    others_s: Callable[[], float] = lambda: 0.0
    num_elsewhere: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord that is fed part by part: its id, and the task that is its body."""

    group_id: str
    body_task: str
    body_kwargs: Kwargs

    @property
    def body_id(self) -> str:
        """Id of the task that is the chord's body."""
        return body_id(self.group_id)

    def part_id(self, index: int) -> str:
        """Id of the task that is part ``index``."""
        return part_id(self.group_id, index)


class Transport(ABC):
    """Carries orders to clients and tasks to the orchestrator's own workers, and brings back what they return.

    Args:
        app: Makes the messages.
        run_id: The run.
        signatures: Where orders and answers are signed, what signs and checks them.
    """

    def __init__(self, app: Celery, run_id: str, signatures: Signatures | None = None) -> None:
        self._app = app
        self._queue = RunScope(run_id).queue
        self._signatures = signatures

    def send(self, orders: Sequence[Order], queue_of: Callable[[str], str] = client_queue) -> None:
        """Put each order on its client's queue, which ``queue_of`` tells, its timeout as the soft limit of its task.

        That an order's time may be over before it is taken is for the client to see, by the broker's clock: Celery's
        ``expires`` would go by the client's own.
        """
        self.publish(
            [
                Call(
                    order_task(order.name),
                    order.order_id,
                    queue_of(order.client_id),
                    args=(self._written(order),),
                    options={"soft_time_limit": order.timeout_s, "time_limit": order.hard_limit_s},
                )
                for order in orders
            ]
        )

    def send_together(self, groups: Sequence[Sequence[Order]], queue_of: Callable[[str], str] = client_queue) -> None:
        """Put orders on their clients' queues, those of a group by one message; see :meth:`send`."""
        self.send([order for group in groups for order in group], queue_of)

    def _written(self, order: Order) -> dict[str, object]:
        return encode(order) if self._signatures is None else self._signatures.signed(order)

    def read(self, raw: bytes | str, order: Order, max_examples: int = MAX_COUNT) -> Response:
        """Return the answer to an order in a raw result; see :func:`orchestrator.transport.responses.read_response`."""
        return read_response(raw, order, max_examples, self._signatures)

    def call(self, task: str, task_id: str, kwargs: Kwargs) -> None:
        """Put a task on the queue of the run's own workers."""
        self.publish([Call(task, task_id, self._queue, kwargs=kwargs)])

    def send_part(self, chord: Chord, index: int, task: str, kwargs: Kwargs, *, keep_result: bool = False) -> None:
        """Send a task of the orchestrator's own as a part of the chord; one that is sent again is counted once.

        Its result can be collected under :meth:`Chord.part_id` if ``keep_result`` says so.
        """
        body: Any = self._app.signature(chord.body_task, kwargs=dict(chord.body_kwargs), task_id=chord.body_id)
        options = {
            "group_id": chord.group_id,
            "group_index": index,
            "chord": dict(body),
            "ignore_result": not keep_result,
        }
        self.publish([Call(task, chord.part_id(index), self._queue, kwargs=kwargs, options=options)])

    def withdraw(self, order: Order, queue_of: Callable[[str], str] = client_queue) -> None:
        """Take an order back that its client hasn't taken from its queue, so that it isn't carried out late.

        In a client's own queue there are no more than one of each run that is on. From a queue that several clients
        share nothing is taken back: that the order's time is over will do.
        """
        own = client_queue(order.client_id)
        if queue_of(order.client_id) == own:
            self.take_back(own, order.order_id)

    @abstractmethod
    def publish(self, calls: Sequence[Call]) -> None:
        """Put tasks on their queues."""

    @abstractmethod
    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended.

        Waits for the first of them, for something to change among the clients, or for ``timeout_s``. Of a result that
        is longer than ``max_bytes``, no more is read than says so.
        """

    def taken(self) -> Collection[str]:
        """Return the ids of orders that workers have taken from their queues since this was asked last."""
        return ()

    @abstractmethod
    def expect_more(self, task_id: str) -> None:
        """Note that what was read of a task is not its end: it is read again when there is more."""

    @abstractmethod
    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""

    @abstractmethod
    def close_chord(self, chord: Chord, num_parts: int) -> None:
        """Have the chord's body follow when this many parts are done; the last of them is sent after that."""

    @abstractmethod
    def take_back(self, queue: str, task_id: str) -> None:
        """Remove a task that nobody has taken from a queue."""

    @abstractmethod
    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Tell a client that it is its turn to send the update that it was to make; told twice, it is the same."""

    @abstractmethod
    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told of their turns."""
