"""Groups: orders that take little time go together, by one message, to a worker that many clients share.

What a small order costs is its message and its task, not its work. A group takes about as long as ``GROUP_S``, so its
members hardly wait for each other. Each is answered by itself, under its own id, as if it had come alone. If the
process that is at a group dies, the transport sends those again that weren't answered, each by itself: then the one
whose fault it was is lost, and no other.

Groups are how orders travel. Nothing else goes by them: models are the same, to the last bit, whatever went together.
"""

from __future__ import annotations

import math
import secrets
import statistics
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence

from orchestrator.clients.waves import Place
from orchestrator.transport.pieces import in_pieces
from tasks.messages import Order, Response, Status, UpdateOrder
from tasks.scope import ClientScope

GROUP_S = 0.25
"""Seconds that the orders of a group are expected to take together."""
MOST = 1000
"""Orders that go together at the most, whatever their worker takes."""
GROUPS_A_PROCESS = 2
"""Groups that there are at least for each process of a worker with many orders, so that it has work all the time."""
_GO_ALONE = (Status.LOST, Status.TIMED_OUT, Status.FAILED)


class Durations:
    """How long clients took for orders of each kind the last time: what is expected of them the next."""

    def __init__(self) -> None:
        self._by_kind: dict[str, dict[str, float]] = {}
        self._sorted: dict[str, list[float]] = {}
        """The same seconds, so that what is usual is at hand however often it is asked for."""

    def note(self, order: Order, response: Response) -> None:
        """Note how long a client took; one that was lost, cut short, or has failed goes alone the next time.

        A client that hangs has failed at its limit, and would have its whole group sent again each time.
        """
        seconds = math.inf if response.status in _GO_ALONE else response.duration_s
        known, line = self._by_kind.setdefault(order.name, {}), self._sorted.setdefault(order.name, [])
        if (former := known.get(order.client_id)) is not None:
            del line[bisect_left(line, former)]
        known[order.client_id] = seconds
        insort(line, seconds)

    def expected(self, orders: Sequence[Order]) -> list[float]:
        """Return the seconds that orders of one kind are expected to take; of a client that is new, what is usual."""
        kind = orders[0].name if orders else ""
        known, line = self._by_kind.get(kind, {}), self._sorted.get(kind, [])
        usual = (line[(len(line) - 1) // 2] + line[len(line) // 2]) / 2 if line else math.inf
        return [known.get(order.client_id, usual) for order in orders]


def group_size(order: Order, seconds: float, place: Place) -> int:
    """Return how many orders like this one go together, which is expected to take so many seconds.

    One that waits for its turn to send goes alone: it would hold the others up.
    """
    if isinstance(order, UpdateOrder) and order.waits_for_turn:
        return 1
    return max(1, min(place.most_together, int(GROUP_S / max(seconds, GROUP_S / MOST))))


def usual_size(orders: Sequence[Order], seconds: Sequence[float], place: Place) -> int:
    """Return how many of these orders usually go together: a client that was lost doesn't decide for all others."""
    return group_size(orders[0], statistics.median(seconds), place)


def in_groups(
    orders: Sequence[Order], seconds: Sequence[float], place_of: Callable[[str], Place], *, more_follow: bool = False
) -> list[Sequence[Order]]:
    """Return orders as they go together, those of each queue in their order.

    Args:
        orders: Orders of one kind.
        seconds: How long each is expected to take.
        place_of: Tells where a client's orders are carried out.
        more_follow: Whether orders for the same processes follow soon, so that these needn't be shared out among all.
    """
    groups: list[Sequence[Order]] = []
    lines: dict[Place, list[tuple[Order, float]]] = {}
    for order, expected_s in zip(orders, seconds, strict=True):
        place = place_of(order.client_id)
        if group_size(order, expected_s, place) == 1:
            groups.append([order])
        else:
            lines.setdefault(place, []).append((order, expected_s))
    for place, line in lines.items():
        shared_out = math.ceil(len(line) / (GROUPS_A_PROCESS * place.num_processes))
        most = min(place.most_together, len(line) if more_follow else shared_out)
        groups += in_pieces([order for order, _ in line], [seconds for _, seconds in line], most, GROUP_S)
    return groups


class Groups:
    """The groups that are out."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Order]] = {}
        self._group_of: dict[str, str] = {}

    def add(self, orders: Sequence[Order]) -> str:
        """Note a group, and return the id of the task that carries it."""
        self.answered(order.order_id for order in orders)
        first = orders[0]
        scope = ClientScope(first.client_id)
        group_id = scope.order_id(first.run_id, first.round_number, f"{first.name}-group-{secrets.token_hex(4)}")
        self._open[group_id] = {order.order_id: order for order in orders}
        self._group_of |= dict.fromkeys(self._open[group_id], group_id)
        return group_id

    def answered(self, order_ids: Iterable[str]) -> None:
        """Note that nobody waits any more for what these groups' orders come to."""
        for order_id in order_ids:
            if (group_id := self._group_of.pop(order_id, None)) is not None:
                del self._open[group_id][order_id]
                if not self._open[group_id]:
                    del self._open[group_id]

    def ids(self) -> list[str]:
        """Return the ids of the tasks that carry groups with orders that aren't answered."""
        return list(self._open)

    def failed(self, group_id: str) -> list[Order]:
        """Return the orders of a group that weren't answered: it has ended, and is none any more."""
        orders = list(self._open.get(group_id, {}).values())
        self.answered(order.order_id for order in orders)
        return orders
