"""The client manager: keeps the list of connected clients and samples a round's cohort."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from celeriac.selectors import ConnectedClient, Selection, Selector
from celeriac.selectors.client_statistics import ClientStatistics
from orchestrator.clients.naming import by_what, named
from orchestrator.clients.waves import Place
from tasks.announcement import Announcement, PassedOver
from tasks.errors import BrokerUnreachableError, SelectionError, TooFewClientsError
from tasks.messages import MAX_COUNT
from tasks.protocol import difference
from tasks.scope import client_queue

logger = logging.getLogger(__name__)

NO_STATISTICS: Mapping[str, ClientStatistics] = MappingProxyType({})
FRESH_S = 1.0
"""Seconds for which the list of more than ``FEW`` clients counts as fresh when a round waits for enough of them."""
FEW = 100
"""Up to this many clients, the list is refreshed before each round, so no client that is leaving is chosen."""
MAX_TOLD = 20
"""Reasons that the log has at a time why clients are passed over."""
OUTAGE_HEARTBEATS = 3.0
"""When the broker is there again, clients have this many heartbeats to announce themselves to it."""


class ClientManager:
    """Knows the connected clients in the order in which they connected, and samples among them.

    Args:
        present: Returns all live announcements by client id.
        clock: A monotonic clock, in seconds.
        workload: The workload that clients must have; None: any.
        misfit: Returns why the selector won't choose a client; empty if it may.
        tell: Tells clients why they are passed over.
        blobs: The identity of the store of blobs that clients must use; None: any.
        needs: Details that clients are to announce before they count as connected: what the selector goes by.
        num_parts: Into how many parts the run has a data set split that its clients share; None: any number will do.
    """

    def __init__(
        self,
        present: Callable[[], Mapping[str, Announcement]],
        clock: Callable[[], float] = time.monotonic,
        workload: str | None = None,
        misfit: Callable[[ConnectedClient], str] = lambda _: "",
        tell: Callable[[PassedOver], None] = lambda _: None,
        blobs: str | None = None,
        needs: Collection[str] = (),
        num_parts: int | None = None,
    ) -> None:
        self._present = present
        self._clock = clock
        self._workload = workload
        self._misfit = misfit
        self._tell = tell
        self._blobs = blobs
        self._needs = frozenset(needs)
        self._num_parts = num_parts
        self._told: dict[str, tuple[str, str]] = {}
        """Of each client told that it is passed over: its incarnation, and the reason."""
        self._clients: dict[str, Announcement] = {}
        self._connected: tuple[ConnectedClient, ...] | None = None
        self._num_examples: dict[str, int] = {}
        self._num_held_out: dict[str, int] = {}
        self._shared_queues: dict[str, str] = {}
        self._expelled: dict[str, str] = {}
        self._members: set[str] | None = None
        self._is_away = False
        """Whether the broker couldn't be reached at the last look."""
        self._back_at = -math.inf
        """When it was found there again."""
        self._looked_at = -math.inf

    def refresh(self) -> None:
        """Update the list of clients.

        A client that left and came back between two refreshes keeps its place. While the broker is unreachable, and
        until clients have had time to announce themselves to it again, no client counts as gone.
        """
        self._looked_at = self._clock()
        try:
            present = dict(self._present())
        except BrokerUnreachableError as error:
            logger.warning("%s", error)
            self._is_away = True
            return
        if self._is_away:
            self._is_away, self._back_at = False, self._clock()
        present = {**self._still_to_come(), **present}
        if present == self._clients:
            return
        self._connected = None
        kept = {client_id: present[client_id] for client_id in self._clients if client_id in present}
        came = sorted(present.keys() - kept.keys())
        former = self._clients
        self._clients = {**kept, **{client_id: present[client_id] for client_id in came}}
        self._num_examples.update({client_id: said.num_examples for client_id, said in self._clients.items()})
        self._num_held_out.update({client_id: said.num_held_out for client_id, said in self._clients.items()})
        self._shared_queues.update({client_id: said.shared_queue for client_id, said in self._clients.items()})
        self._tell_passed_over(said for said in self._clients.values() if former.get(said.client_id) is not said)

    def _tell_passed_over(self, changed: Iterable[Announcement]) -> None:
        """Tell clients, and log, why they are passed over: once for each reason and start of a client."""
        news = {}
        for said in changed:
            reason = self._why_passed_over(said)
            if reason and self._told.get(said.client_id) != (said.incarnation, reason):
                self._told[said.client_id] = said.incarnation, reason
                news[said.client_id] = said, reason
        if not news:
            return
        reasons = list(by_what({client_id: reason for client_id, (_, reason) in news.items()}))
        for reason, client_ids in reasons[:MAX_TOLD]:
            logger.warning("%s passed over: %s", named(client_ids), reason)
        if others := sum(len(client_ids) for _, client_ids in reasons[MAX_TOLD:]):
            logger.warning("%d more are passed over, for other reasons", others)
        try:
            self._tell(news)
        except BrokerUnreachableError as error:
            logger.warning("they could not be told: %s", error)

    def _why_passed_over(self, said: Announcement) -> str:
        """Return why a client can't take part in the run; empty if it can, or is leaving anyway."""
        if said.leaving:
            return ""
        if reason := self._why_unsuited(said):
            return reason
        if not self._is_welcome(said):
            return "it came after the run had begun, and the run takes in no more (--accept closed)"
        return "" if self._has_yet_to_tell(said) else self._misfit(ConnectedClient(said.client_id, said))

    def _why_unsuited(self, said: Announcement) -> str:
        """Return why a client can't carry out any order of the run; empty if it can."""
        if said.client_id in self._expelled:
            return self._expelled[said.client_id]
        if reason := difference(said.protocol, said.version):
            return reason
        if self._workload not in (None, said.workload):
            return f"it has the workload {said.workload}, the run trains {self._workload}"
        if self._blobs not in (None, said.blobs):
            return (
                f"its models and updates are in {said.blobs} (CLIENT_BLOBS), the run's in {self._blobs} "
                "(--blobs): both have to name the same"
            )
        if said.part and self._num_parts not in (None, said.num_parts):
            return (
                f"another run granted it one of {said.num_parts} parts of the data, this one has {self._num_parts}: it "
                "takes one of these when no run of that many is on; CLIENT_PART would give it one of its own"
            )
        return ""

    def _still_to_come(self) -> dict[str, Announcement]:
        """Return the clients that have time left to announce themselves to a broker that is there again."""
        since_s = self._clock() - self._back_at
        return {name: said for name, said in self._clients.items() if since_s < OUTAGE_HEARTBEATS * said.heartbeat_s}

    def close(self) -> None:
        """Accept no new clients from now on."""
        self._members = set(self._clients)
        self._connected = None

    def expel(self, client_id: str, reason: str) -> None:
        """Have a client take no further part in the run, however often it comes back, and tell it why."""
        self._expelled.setdefault(client_id, reason)
        self._connected = None
        self._tell_passed_over(said for said in self._clients.values() if said.client_id == client_id)

    def connected(self) -> Sequence[ConnectedClient]:
        """Return the clients that take orders, in the order in which they connected, as of the last refresh."""
        if self._connected is None:
            self._connected = tuple(
                ConnectedClient(client_id, announcement)
                for client_id, announcement in self._clients.items()
                if self._is_welcome(announcement) and not self._has_yet_to_tell(announcement)
            )
        return self._connected

    def _has_yet_to_tell(self, announcement: Announcement) -> bool:
        """Say whether a client hasn't heard yet what the run wants announced: it will with its next heartbeat."""
        return not self._needs.isdisjoint(announcement.untold)

    def _is_welcome(self, announcement: Announcement) -> bool:
        if announcement.leaving or self._why_unsuited(announcement):
            return False
        return self._members is None or announcement.client_id in self._members

    def incarnations(self) -> dict[str, str]:
        """Return the incarnation of every present client, including clients that are leaving."""
        return {client_id: announcement.incarnation for client_id, announcement in self._clients.items()}

    def num_examples(self, client_id: str) -> int:
        """Return the number of examples that a client last announced; ``MAX_COUNT`` if it never did."""
        return self._num_examples.get(client_id, MAX_COUNT)

    def most_evaluated(self, client_id: str) -> int:
        """Return how many examples a client's evaluation counts for at the most: as many as it announced, of either."""
        return max(self.num_examples(client_id), self._num_held_out.get(client_id, 0))

    def queue(self, client_id: str) -> str:
        """Return the queue for a client's orders, as it last announced."""
        return self._shared_queues.get(client_id) or client_queue(client_id)

    def num_processes(self, client_id: str) -> int:
        """Return how many orders a client's worker carries out at a time; 1 for an absent client."""
        announcement = self._clients.get(client_id)
        return announcement.num_processes if announcement else 1

    def place(self, client_id: str) -> Place:
        """Return where a client's orders are carried out, as it last announced."""
        announcement = self._clients.get(client_id)
        most_together = announcement.most_together if announcement and announcement.shared_queue else 1
        return Place(self.queue(client_id), self.num_processes(client_id), most_together)

    def wait_for(self, minimum: int, timeout_s: float, pause: Callable[[float], None]) -> Sequence[ConnectedClient]:
        """Wait until at least ``minimum`` clients are connected and return all that are.

        Args:
            minimum: Clients to wait for.
            timeout_s: Longest wait, in seconds.
            pause: Returns when something may have changed, or after the given number of seconds.

        Raises:
            TooFewClientsError: If fewer are connected when the time is up.
        """
        deadline = self._clock() + timeout_s
        if len(self._clients) <= FEW or self._clock() - self._looked_at > FRESH_S:
            self.refresh()
        while True:
            clients = self.connected()
            if len(clients) >= minimum:
                return clients
            left = deadline - self._clock()
            if left <= 0:
                raise TooFewClientsError(len(clients), minimum, timeout_s)
            pause(left)
            self.refresh()

    def sample(
        self,
        selector: Selector,
        round_number: int,
        rng: np.random.Generator,
        *,
        num: int,
        num_needed: int = 1,
        statistics: Mapping[str, ClientStatistics] = NO_STATISTICS,
    ) -> list[str]:
        """Return a round's cohort, sorted.

        Args:
            selector: Chooses among the connected clients.
            round_number: The round that the cohort is for.
            rng: The selector's source of randomness.
            num: How many clients are wanted; all, if fewer are connected.
            num_needed: Updates that the round needs: with fewer clients it can't succeed.
            statistics: Statistics of clients by client id.

        Raises:
            TooFewClientsError: If no client is connected.
            TooFewFitError: If too few clients fit the selector.
            SelectionError: If the selector returns anything but a non-empty subset of the clients, or ``num`` is 0.
        """
        clients = self.connected()
        if not clients:
            raise TooFewClientsError(0, 1, 0.0)
        selection = Selection(round_number, min(num, len(clients)), rng, statistics, num_needed)
        return _checked(selector(clients, selection), clients, round_number)


def _checked(chosen: object, clients: Sequence[ConnectedClient], round_number: int) -> list[str]:
    """Return a selector's result, sorted, after checking that it is a non-empty subset of the clients' ids."""
    known = {client.client_id for client in clients}
    client_ids = list(chosen) if isinstance(chosen, Iterable) else []
    unknown = [client_id for client_id in client_ids if not (isinstance(client_id, str) and client_id in known)]
    if unknown or not client_ids or len(set(client_ids)) != len(client_ids):
        problem = f"unknown {unknown!r:.500}" if unknown else f"{chosen!r:.500}"
        raise SelectionError(f"round {round_number}: the selector returned {problem}; a non-empty subset is needed")
    return sorted(client_ids)
