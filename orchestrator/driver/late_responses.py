"""Late answers: those to orders whose slots were filled without. They count for nothing, and their updates go."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable

from orchestrator.store.updates import discard_updates
from orchestrator.transport.responses import says_ready
from orchestrator.transport.transport import RunServices
from tasks.broker.turns import STOP
from tasks.messages import Order, Response, UpdateOrder

MAX_OUTSTANDING = 1000
"""Orders whose late answers are looked out for."""
AGAIN_S = 1.0
"""Seconds between two times that orders of closed rounds are forgotten again."""


class LateResponses:
    """Looks out for the late answers of a run.

    Args:
        services: How clients are reached.
        clock: Seconds that only go up.
    """

    def __init__(self, services: RunServices, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._again_at = -math.inf
        self._outstanding: dict[str, Order] = {}
        self._stopped: set[str] = set()
        self._responses: list[Response] = []
        self._recently_closed: deque[str] = deque(maxlen=MAX_OUTSTANDING)

    def expect(self, orders: Iterable[Order]) -> None:
        """Look out for answers to these orders; only the newest ``MAX_OUTSTANDING`` are."""
        self._outstanding.update({order.order_id: order for order in orders})
        given_up = list(self._outstanding)[:-MAX_OUTSTANDING]
        for order_id in given_up:
            del self._outstanding[order_id]
        self._stopped.intersection_update(self._outstanding)
        self._services.transport.forget(given_up)

    def expected(self) -> list[str]:
        """Return the orders that are looked out for."""
        return list(self._outstanding)

    def stop(self, order: Order) -> None:
        """Tell a client, once, that its update isn't wanted any more: one that has vanished is never heard of again."""
        if order.order_id not in self._stopped:
            self._stopped.add(order.order_id)
            self._services.transport.give_turn(order, STOP)

    def discard(self, order: Order) -> None:
        """Remove what is there of the update that was ordered, if one was."""
        if isinstance(order, UpdateOrder):
            discard_updates(self._services.blobs, [order.update_blob], order.parameters.size_bytes, order.results_bytes)

    def take(self, order_id: str, raw: bytes | str) -> None:
        """Take an answer that came late, and remove its update; a client that is only ready is told to stop."""
        order = self._outstanding[order_id]
        if says_ready(raw, order):
            self._services.transport.expect_more(order_id)
            self.stop(order)
            return
        self._stopped.discard(order_id)
        del self._outstanding[order_id]
        response = self._services.transport.read(raw, order)
        self._responses.append(response)
        self._services.transport.forget([order_id])
        if isinstance(order, UpdateOrder):
            self._services.transport.take_turns_away([order])
        self.discard(order)

    def pop(self) -> list[Response]:
        """Return the answers that have come since this was last asked."""
        responses, self._responses = self._responses, []
        return responses

    def recently_closed(self, order_ids: Iterable[str]) -> list[str]:
        """Note that the round of these orders is over, and return them and, every ``AGAIN_S``, others that lately were.

        A client's worker that ended just as it took an order gets it again when it is started. What it stores then
        nobody waits for: it is to be forgotten with a later round that closes.
        """
        closed, again = list(order_ids), []
        if self._clock() >= self._again_at:
            again, self._again_at = list(self._recently_closed), self._clock() + AGAIN_S
        over = dict.fromkeys([*again, *closed])
        self._recently_closed.extend(closed)
        return [order_id for order_id in over if order_id not in self._outstanding]
