"""Couriers: how orders go out, how answers come back, and how a chord's slots are filled.

:class:`CeleryCourier` talks to real workers over Redis, :class:`EagerCourier` carries everything out at once in this
process, through Celery's eager mode.

A chord is fed slot by slot from the orchestrator's side: its size is set, then each slot is filled by a task that is
sent as the chord's part. Clients are never members of it, so none sees another's answer or can start the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from celery import Celery

from orchestrator.publishing import Call, Publisher
from orchestrator.results import Results
from tasks.broker import connect, persist
from tasks.messages import Order, UpdateOrder, encode
from tasks.names import ORCHESTRATOR_QUEUE, client_queue
from tasks.turns import GO, RedisTurns

Kwargs = Mapping[str, object]
QueueOf = Callable[[str], str]

MAX_RESULT_BYTES = 2**29
"""Redis holds no longer values than this."""
HARD_LIMIT_S = 1.0
"""Seconds after an order's timeout at which the process that carries it out is killed, as the last resort."""


@dataclass(frozen=True, slots=True)
class Chord:
    """A chord that is fed slot by slot: its id, and the task that is its body."""

    group_id: str
    body_task: str
    body_kwargs: Kwargs

    @property
    def body_id(self) -> str:
        """Id of the task that is the chord's body."""
        return f"{self.group_id}/body"

    def part_id(self, index: int) -> str:
        """Id of the task that fills slot ``index``."""
        return f"{self.group_id}/{index}"


class Courier(Protocol):
    """Carries orders to clients and tasks to the orchestrator's own workers, and brings back what they return."""

    def send(self, orders: Sequence[Order], queue_of: QueueOf = client_queue) -> None:
        """Put each order on its client's queue, which ``queue_of`` tells by the client's id."""
        ...

    def withdraw(self, order: Order, queue_of: QueueOf = client_queue) -> None:
        """Take an order back that its client hasn't taken from its queue, so that it isn't carried out late.

        From a queue that several clients share nothing is taken back: that the order's time is over will do.
        """
        ...

    def call(self, task: str, task_id: str, kwargs: Kwargs) -> None:
        """Put a task on the orchestrator's own queue."""
        ...

    def open_chord(self, chord: Chord, num_slots: int) -> None:
        """Make a chord of this many slots."""
        ...

    def add_slot(self, chord: Chord) -> None:
        """Give the chord a slot more. Only while another is not filled: a chord whose slots are all filled is over."""
        ...

    def fill(self, chord: Chord, index: int, task: str, kwargs: Kwargs, *, keep_result: bool = False) -> None:
        """Fill a slot of the chord with a task of the orchestrator's own.

        Its result can be collected under :meth:`Chord.part_id` if ``keep_result`` says so.
        """
        ...

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended.

        Waits for the first of them, for something to change among the clients, or for ``timeout_s``. Of a result that
        is longer than ``max_bytes``, no more is read than says so.
        """
        ...

    def expect_more(self, task_id: str) -> None:
        """Note that what was collected of a task is not its end."""
        ...

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Tell a client that it is its turn to send the update that it was to make; told twice, it is the same."""
        ...

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told of their turns."""
        ...

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        ...


class CeleryCourier:
    """Carries over Celery and Redis."""

    def __init__(self, app: Celery, url: str, run_id: str) -> None:
        self._app = app
        self._client = connect(url)
        self._results = Results(url, run_id, self._client)
        self._turns = RedisTurns(self._client)
        self._publisher = Publisher(app, self._client)

    def send(self, orders: Sequence[Order], queue_of: QueueOf = client_queue) -> None:
        """Put each order on its client's queue, its timeout as the soft limit of its task.

        That an order's time may be over before it is taken is for the client to see, by the broker's clock: Celery's
        ``expires`` would go by the client's own.
        """
        self._publisher.publish(
            [
                Call(
                    order.task,
                    order.order_id,
                    queue_of(order.client_id),
                    args=(encode(order),),
                    options={"soft_time_limit": order.timeout_s, "time_limit": _hard_limit_s(order)},
                )
                for order in orders
            ]
        )

    def withdraw(self, order: Order, queue_of: QueueOf = client_queue) -> None:
        """Empty the client's own queue: nobody else sends it orders, and it has no more than one at a time."""
        own = client_queue(order.client_id)
        if queue_of(order.client_id) == own:
            self._client.unlink(own)

    def call(self, task: str, task_id: str, kwargs: Kwargs) -> None:
        """Put a task on the orchestrator's own queue."""
        self._publisher.publish([Call(task, task_id, ORCHESTRATOR_QUEUE, kwargs=kwargs)])

    def open_chord(self, chord: Chord, num_slots: int) -> None:
        """Make a chord of this many slots."""
        persist(lambda: self._app.backend.set_chord_size(chord.group_id, num_slots))

    def add_slot(self, chord: Chord) -> None:
        """Give the chord a slot more."""
        persist(lambda: self._app.backend.add_to_chord(chord.group_id, None))

    def fill(self, chord: Chord, index: int, task: str, kwargs: Kwargs, *, keep_result: bool = False) -> None:
        """Fill a slot of the chord; a part that is sent again is counted once."""
        kwargs_of_body, body_id = dict(chord.body_kwargs), chord.body_id
        # Immutable: it is given nothing of what the parts return.
        body: Any = self._app.signature(
            chord.body_task, kwargs=kwargs_of_body, task_id=body_id, queue=ORCHESTRATOR_QUEUE, immutable=True
        )
        options = {
            "group_id": chord.group_id,
            "group_index": index,
            "chord": dict(body),
            "ignore_result": not keep_result,
        }
        self._publisher.publish([Call(task, chord.part_id(index), ORCHESTRATOR_QUEUE, kwargs=kwargs, options=options)])

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended."""
        return self._results.collect(task_ids, timeout_s, max_bytes)

    def expect_more(self, task_id: str) -> None:
        """Note that what was collected of a task is not its end."""
        self._results.expect_more(task_id)

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Tell a client that it is its turn to send the update that it was ordered to make."""
        self._turns.give(order.update_blob, word)

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told of their turns."""
        self._turns.take_away(order.update_blob for order in orders)

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        backend: Any = self._app.backend
        keys = [backend.get_key_for_group(chord.group_id, end) for chord in chords for end in _CHORD_KEYS]
        self._results.forget(task_ids, keys)


def _hard_limit_s(order: Order) -> float:
    """Return the seconds after which the process that carries an order out is killed."""
    waits = isinstance(order, UpdateOrder) and order.waits_for_turn
    return order.timeout_s + HARD_LIMIT_S + (order.turn_timeout_s if waits else 0.0)


_CHORD_KEYS = (".j", ".t", ".s", ".d", ".c")


class EagerCourier:
    """Carries everything out at once in this process, through Celery's eager mode.

    Eager tasks know nothing of chords, so this counts a chord's slots itself.
    """

    def __init__(self, app: Celery) -> None:
        if not app.conf.task_always_eager:
            raise ValueError("an eager courier needs an app with task_always_eager")
        self._app = app
        self._results: dict[str, str] = {}
        self._open: dict[str, int] = {}
        """Slots of each chord that are not filled."""

    def send(self, orders: Sequence[Order], queue_of: QueueOf = client_queue) -> None:
        """Have each client carry out its order now."""
        for order in orders:
            self._apply(order.task, order.order_id, args=(encode(order),))

    def withdraw(self, order: Order, queue_of: QueueOf = client_queue) -> None:
        """Do nothing: every order has been carried out."""

    def call(self, task: str, task_id: str, kwargs: Kwargs) -> None:
        """Carry out a task of the orchestrator's own now."""
        self._apply(task, task_id, kwargs=dict(kwargs))

    def open_chord(self, chord: Chord, num_slots: int) -> None:
        """Make a chord of this many slots."""
        self._open[chord.group_id] = num_slots

    def add_slot(self, chord: Chord) -> None:
        """Give the chord a slot more."""
        self._open[chord.group_id] += 1

    def fill(self, chord: Chord, index: int, task: str, kwargs: Kwargs, *, keep_result: bool = False) -> None:
        """Fill a slot of the chord; when it is the last, carry out the body."""
        self._apply(task, chord.part_id(index), kwargs=dict(kwargs))
        self._open[chord.group_id] -= 1
        if not self._open[chord.group_id]:
            self._apply(chord.body_task, chord.body_id, kwargs=dict(chord.body_kwargs))

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the results; they are all there already."""
        return {task_id: self._results[task_id] for task_id in task_ids if task_id in self._results}

    def expect_more(self, task_id: str) -> None:
        """Do nothing: what is there is the end."""

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Do nothing: every order has been carried out."""

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Do nothing: nobody was told of a turn."""

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        for task_id in task_ids:
            self._results.pop(task_id, None)
        for chord in chords:
            self._open.pop(chord.group_id, None)

    def _apply(self, task: str, task_id: str, **arguments: Any) -> None:
        # Through JSON and back, as over a broker.
        arguments = json.loads(json.dumps(arguments))
        signature = self._app.signature(task, args=arguments.get("args", ()), kwargs=arguments.get("kwargs", {}))
        result = signature.apply_async(task_id=task_id).result
        self._results[task_id] = json.dumps({"status": "SUCCESS", "result": result})
