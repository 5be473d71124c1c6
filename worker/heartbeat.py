"""A client's signs of life: a thread that keeps its announcement up, through outages and absences."""

from __future__ import annotations

import logging
import os
import signal
import threading

from redis import Redis
from redis.exceptions import RedisError

from tasks.presence import Announcement, RedisRegistry
from worker.absence import Absence, RedisAbsence

logger = logging.getLogger(__name__)

MAX_OTHERS = 2
"""Heartbeats in a row that find another worker's announcement in place of one's own."""


class Heartbeat:
    """Keeps a client's announcement up until it is told to stop."""

    def __init__(self, client: Redis, announcement: Announcement) -> None:
        self._absence = RedisAbsence(client, announcement.client_id)
        self._registry = RedisRegistry(client)
        self._announcement = announcement
        self._wake = threading.Event()
        self._stopped = False
        self._leaving = False
        self._num_others = 0
        self._up = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Announce the client, and go on doing so."""
        self._thread.start()

    def leave(self) -> None:
        """Let it be known that the client takes no further orders, while its last task ends."""
        self._leaving = True
        self._up = False
        self._wake.set()

    def stop(self) -> None:
        """End the thread. The announcement, which says that the client is leaving, expires by itself.

        Until then an order that the client has not begun is kept for it, should it be started again.
        """
        self._stopped = True
        self.leave()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            last = self._stopped
            try:
                self._beat()
            except (RedisError, OSError) as error:
                self._up = False
                logger.warning("client %s can't reach the broker: %s", self._announcement.client_id, error)
            if last:
                return
            self._wake.wait(self._announcement.heartbeat_s)
            self._wake.clear()

    def _look_out_for_another(self, found: Announcement | None) -> None:
        """End this worker if another one goes by the same id: of the two, the one whose incarnation sorts last."""
        mine = self._announcement.incarnation
        is_another = self._up and found is not None and found.incarnation != mine and not found.leaving
        self._num_others = self._num_others + 1 if is_another else 0
        if found is not None and self._num_others >= MAX_OTHERS and mine > found.incarnation:
            logger.error(
                "another worker goes by the id of client %s, and this one ends: set CLIENT_ID to one of its own",
                self._announcement.client_id,
            )
            os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        announcement, leaving = self._announcement, self._leaving
        absence = Absence.NONE if leaving else self._absence.state(announcement.incarnation)
        if absence is Absence.FOR_GOOD:
            os.kill(os.getpid(), signal.SIGTERM)
        if absence is not Absence.NONE:
            self._up = False
            return
        if leaving:
            self._registry.announce_leaving(announcement)
        else:
            self._look_out_for_another(self._registry.announce(announcement))
        if not self._up:
            self._up = True
            self._registry.tell(announcement.client_id)
            state = "is leaving" if leaving else "joined"
            logger.info("client %s %s, with %d examples", announcement.client_id, state, announcement.num_examples)
