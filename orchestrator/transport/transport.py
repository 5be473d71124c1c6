"""Transport: how orders go out, how answers come back, and how a chord's slots are filled.

:class:`Transport` talks to real workers over Redis. :class:`EagerTransport` is its twin in memory, which carries
everything out at once in this process, through Celery's eager mode.

A chord is fed slot by slot from the orchestrator's side: its size is set, then each slot is filled by a task that is
sent as the chord's part. Clients are never members of it, so none sees another's answer or can start the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from celery import Celery

from orchestrator.transport.results import MAX_RESULT_BYTES, Results
from orchestrator.transport.sending import Call, Publisher
from tasks.announcement import Announcement, PassedOver
from tasks.blobs.blob import BlobStore
from tasks.broker.connection import connect, persist
from tasks.broker.turns import GO, RedisTurns
from tasks.messages import Order, UpdateOrder, encode
from tasks.names import order_task
from tasks.scope import ORCHESTRATOR_QUEUE, body_id, chord_keys, client_queue, part_id

Kwargs = Mapping[str, object]

HARD_LIMIT_S = 1.0
"""Seconds after an order's timeout at which the process that carries it out is killed, as the last resort."""
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
        poll: Called at least every ``TICK_S``: keeps up what has to be kept up; True if an own worker had to be
            started anew, so that what it was doing is lost.
        tidy: Removes what the run left on the broker, when it is over.
        forgot: Says whether the broker has forgotten all that was on it since this was last asked.
    """

    transport: Transport
    present: Callable[[], Mapping[str, Announcement]]
    tell: Callable[[PassedOver], None]
    blobs: BlobStore
    broker_time: Callable[[], float]
    poll: Callable[[], bool]
    tidy: Callable[[], None]
    forgot: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord that is fed slot by slot: its id, and the task that is its body."""

    group_id: str
    body_task: str
    body_kwargs: Kwargs

    @property
    def body_id(self) -> str:
        """Id of the task that is the chord's body."""
        return body_id(self.group_id)

    def part_id(self, index: int) -> str:
        """Id of the task that fills slot ``index``."""
        return part_id(self.group_id, index)


class Transport(Results):
    """Carries orders to clients and tasks to the orchestrator's own workers, and brings back what they return.

    Args:
        app: Makes the messages.
        url: The broker's URL.
        run_id: The run.
    """

    def __init__(self, app: Celery, url: str, run_id: str) -> None:
        client = connect(url)
        super().__init__(url, run_id, client)
        self._app = app
        self._turns = RedisTurns(client)
        self._publisher = Publisher(app, client)

    def send(self, orders: Sequence[Order], queue_of: Callable[[str], str] = client_queue) -> None:
        """Put each order on its client's queue, which ``queue_of`` tells, its timeout as the soft limit of its task.

        That an order's time may be over before it is taken is for the client to see, by the broker's clock: Celery's
        ``expires`` would go by the client's own.
        """
        self._publish(
            [
                Call(
                    order_task(order.name),
                    order.order_id,
                    queue_of(order.client_id),
                    args=(encode(order),),
                    options={"soft_time_limit": order.timeout_s, "time_limit": _hard_limit_s(order)},
                )
                for order in orders
            ]
        )

    def call(self, task: str, task_id: str, kwargs: Kwargs) -> None:
        """Put a task on the orchestrator's own queue."""
        self._publish([Call(task, task_id, ORCHESTRATOR_QUEUE, kwargs=kwargs)])

    def send_part(self, chord: Chord, index: int, task: str, kwargs: Kwargs, *, keep_result: bool = False) -> None:
        """Fill a slot of the chord with a task of the orchestrator's own; one that is sent again is counted once.

        Its result can be collected under :meth:`Chord.part_id` if ``keep_result`` says so.
        """
        kwargs_of_body = dict(chord.body_kwargs)
        # Immutable: it is given nothing of what the parts return.
        body: Any = self._app.signature(
            chord.body_task, kwargs=kwargs_of_body, task_id=chord.body_id, queue=ORCHESTRATOR_QUEUE, immutable=True
        )
        options = {
            "group_id": chord.group_id,
            "group_index": index,
            "chord": dict(body),
            "ignore_result": not keep_result,
        }
        self._publish([Call(task, chord.part_id(index), ORCHESTRATOR_QUEUE, kwargs=kwargs, options=options)])

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        self.remove(task_ids, [key for chord in chords for key in chord_keys(chord.group_id)])

    def open_chord(self, chord: Chord, num_slots: int) -> None:
        """Make a chord of this many slots."""
        persist(lambda: self._app.backend.set_chord_size(chord.group_id, num_slots))

    def add_slot(self, chord: Chord) -> None:
        """Give the chord a slot more. Only while another is not filled: a chord whose slots are all filled is over."""
        persist(lambda: self._app.backend.add_to_chord(chord.group_id, None))

    def withdraw(self, order: Order, queue_of: Callable[[str], str] = client_queue) -> None:
        """Take an order back that its client hasn't taken from its queue, so that it isn't carried out late.

        The client's own queue is emptied: nobody else sends it orders, and it has no more than one at a time. From a
        queue that several clients share nothing is taken back: that the order's time is over will do.
        """
        own = client_queue(order.client_id)
        if queue_of(order.client_id) == own:
            self._client.unlink(own)

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Tell a client that it is its turn to send the update that it was to make; told twice, it is the same."""
        self._turns.give(order.update_blob, word)

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told of their turns."""
        self._turns.take_away(order.update_blob for order in orders)

    def _publish(self, calls: Sequence[Call]) -> None:
        self._publisher.publish(calls)


def _hard_limit_s(order: Order) -> float:
    """Return the seconds after which the process that carries an order out is killed."""
    waits = isinstance(order, UpdateOrder) and order.waits_for_turn
    return order.timeout_s + HARD_LIMIT_S + (order.turn_timeout_s if waits else 0.0)


class EagerTransport(Transport):
    """Carries everything out at once in this process, through Celery's eager mode: there is nothing to wait for.

    Eager tasks know nothing of chords, so this counts a chord's slots itself.
    """

    def __init__(self, app: Celery) -> None:
        if not app.conf.task_always_eager:
            raise ValueError("an eager transport needs an app with task_always_eager")
        self._app = app
        self._results: dict[str, str] = {}
        self._open: dict[str, int] = {}
        """Slots of each chord that are not filled."""

    def open_chord(self, chord: Chord, num_slots: int) -> None:
        """Make a chord of this many slots."""
        self._open[chord.group_id] = num_slots

    def add_slot(self, chord: Chord) -> None:
        """Give the chord a slot more."""
        self._open[chord.group_id] += 1

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the results; they are all there already."""
        return {task_id: self._results[task_id] for task_id in task_ids if task_id in self._results}

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        for task_id in task_ids:
            self._results.pop(task_id, None)
        for chord in chords:
            self._open.pop(chord.group_id, None)

    def withdraw(self, order: Order, queue_of: Callable[[str], str] = client_queue) -> None:
        """Do nothing: every order has been carried out."""

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Do nothing: nobody was told of a turn."""

    def _publish(self, calls: Sequence[Call]) -> None:
        """Carry the tasks out; when a chord's last slot is filled, its body as well."""
        for call in calls:
            self._execute(call)
            chord = str(call.options.get("group_id"))
            if chord in self._open:
                self._open[chord] -= 1
                if not self._open[chord]:
                    body: Any = call.options["chord"]
                    self._execute(Call(body["task"], body["options"]["task_id"], "", kwargs=body["kwargs"]))

    def _execute(self, call: Call) -> None:
        # Through JSON and back, as over a broker.
        args, kwargs = json.loads(json.dumps([call.args, dict(call.kwargs)]))
        signature = self._app.signature(call.task, args=args, kwargs=kwargs)
        result = signature.apply_async(task_id=call.task_id).result
        self._results[call.task_id] = json.dumps({"status": "SUCCESS", "result": result})
