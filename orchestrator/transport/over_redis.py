"""The transport over Redis, to real workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence

from celery import Celery
from redis.exceptions import RedisError

from orchestrator.transport.groups import Groups
from orchestrator.transport.queued import Queued
from orchestrator.transport.results import MAX_RESULT_BYTES, Results
from orchestrator.transport.sending import Call, Publisher
from orchestrator.transport.signatures import Signatures
from orchestrator.transport.transport import Chord, Transport
from tasks.broker.connection import connect
from tasks.broker.turns import GO, RedisTurns
from tasks.messages import Order
from tasks.names import order_task
from tasks.scope import chord_keys, client_queue

logger = logging.getLogger(__name__)

MOST_IN_QUEUE = 64
"""Tasks among which one is looked for that is to be taken back: a client may put into its queue what it will."""
MOST_QUEUE_BYTES = 2**24
"""Bytes of a client's queue above which nothing is looked for, and all is removed: no orders are as long."""
_TAKE_BACK = """
local size = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', '0')
if size and size > tonumber(ARGV[3]) then return redis.call('UNLINK', KEYS[1]) end
local queued = redis.pcall('LRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)
for _, message in ipairs(queued) do
  if string.find(message, ARGV[1], 1, true) then redis.call('LREM', KEYS[1], 0, message) end
end
"""


class RedisTransport(Transport):
    """A transport over the Redis at ``url``, for a run; see :class:`orchestrator.transport.transport.Transport`."""

    def __init__(
        self,
        app: Celery,
        url: str,
        run_id: str,
        signatures: Signatures | None = None,
        grant: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        super().__init__(app, run_id, signatures)
        self._client = connect(url)
        self._results = Results(url, run_id, self._client, grant)
        self._turns = RedisTurns(self._client)
        self._publisher = Publisher(app, self._client)
        self._groups = Groups()
        self._queued = Queued()
        self._heeded: set[str] = set()
        """Groups of which results are awaited."""
        self._queue_of: Callable[[str], str] = client_queue

    def publish(self, calls: Sequence[Call]) -> None:
        """Put tasks on their queues."""
        self._publisher.publish(calls)

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the raw results of those of the tasks that have ended."""
        groups = self._groups.ids()
        self._results.heed_no_more(self._heeded.difference(groups))
        self._heeded = set(groups)
        found = self._results.collect([*task_ids, *groups], timeout_s, max_bytes)
        failed = [group_id for group_id in groups if found.pop(group_id, None) is not None]
        self._groups.answered(found)
        self._queued.answered(found)
        for group_id in failed:
            self._send_apart(group_id)
        return found

    def send(self, orders: Sequence[Order], queue_of: Callable[[str], str] = client_queue) -> None:
        """Put each order on its client's queue; of a group that it was in, it is none any more."""
        self._groups.answered(order.order_id for order in orders)
        super().send(orders, queue_of)
        for order in orders:
            self._queued.sent(queue_of(order.client_id), [order.order_id])

    def send_together(self, groups: Sequence[Sequence[Order]], queue_of: Callable[[str], str] = client_queue) -> None:
        """Put orders on their clients' queues, those of a group by one message."""
        self._queue_of = queue_of
        self.send([group[0] for group in groups if len(group) == 1], queue_of)
        together = [(queue_of(group[0].client_id), group) for group in groups if len(group) > 1]
        self.publish([self._call(group, queue) for queue, group in together])
        for queue, group in together:
            self._queued.sent(queue, [order.order_id for order in group])

    def _call(self, group: Sequence[Order], queue: str) -> Call:
        # The task's limit is the last bound: each order has its own.
        limit_s = sum(order.hard_limit_s for order in group)
        written = [self._written(order) for order in group]
        options = {"time_limit": limit_s}
        return Call(order_task(group[0].name), self._groups.add(group), queue, args=(written,), options=options)

    def _send_apart(self, group_id: str) -> None:
        """Send the orders of a group that has failed again, each by itself, but for those that were answered."""
        orders = self._groups.failed(group_id)
        logger.warning("a group of orders has failed: those of %d clients are sent again, one by one", len(orders))
        self._results.remove([group_id])
        self.send(orders, self._queue_of)

    def withdraw(self, order: Order, queue_of: Callable[[str], str] = client_queue) -> None:
        """Take an order back; what is left of a group that fails is sent again without it."""
        self._groups.answered([order.order_id])
        super().withdraw(order, queue_of)

    def taken(self) -> Collection[str]:
        """Return the ids of orders that workers have taken from their queues; those are looked at that may have some.

        Of a queue that the broker doesn't tell of, or while it is away, nothing is known to have been taken.
        """
        queues = self._queued.queues()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for queue in queues:
                    pipe.llen(queue)
                lengths = pipe.execute(raise_on_error=False)
        except (RedisError, OSError):
            lengths = [None] * len(queues)
        told = zip(queues, lengths, strict=True)
        return self._queued.taken({queue: length for queue, length in told if isinstance(length, int)})

    def take_reconnected(self) -> bool:
        """Say whether the connection was lost and is there again since this was last asked."""
        return self._results.take_reconnected()

    def expect_more(self, task_id: str) -> None:
        """Note that what was read of a task is not its end."""
        self._results.expect_more(task_id)

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        self._groups.answered(task_ids)
        self._results.remove(task_ids, [key for chord in chords for key in chord_keys(chord.group_id)])

    def close_chord(self, chord: Chord, num_parts: int) -> None:
        """Have the chord's body follow when this many parts are done."""
        self._app.backend.set_chord_size(chord.group_id, num_parts)

    def take_back(self, queue: str, task_id: str) -> None:
        """Remove a task that nobody has taken from a queue."""
        bounds = map(str, (MOST_IN_QUEUE, MOST_QUEUE_BYTES))
        self._client.eval(_TAKE_BACK, 1, queue, f'"id": {json.dumps(task_id)}', *bounds)
        self._queued.emptied(queue)

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Tell a client that it is its turn to send its update."""
        self._turns.give(order.update_blob, word)

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told of their turns."""
        self._turns.take_away(order.update_blob for order in orders)
