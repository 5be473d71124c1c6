"""A client's signs of life: a thread that keeps its announcement up, through outages and absences."""

from __future__ import annotations

import logging
import threading

from redis import Redis
from redis.exceptions import RedisError

from tasks.names import away_key
from tasks.presence import Announcement, RedisRegistry

logger = logging.getLogger(__name__)


class Heartbeat:
    """Keeps a client's announcement up until it is told to stop."""

    def __init__(self, client: Redis, announcement: Announcement) -> None:
        self._client = client
        self._registry = RedisRegistry(client)
        self._announcement = announcement
        self._wake = threading.Event()
        self._stopped = False
        self._up = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Announce the client, and go on doing so."""
        self._thread.start()

    def leave(self) -> None:
        """Let it be known that the client takes no further orders, while its last task ends."""
        self._announcement = self._announcement.model_copy(update={"leaving": True})
        self._up = False
        self._wake.set()

    def stop(self) -> None:
        """End the thread and take the announcement down."""
        self._stopped = True
        self._wake.set()
        self._thread.join(timeout=10)
        try:
            self._registry.take_down(self._announcement.client_id, self._announcement.incarnation)
        except (RedisError, OSError) as error:
            logger.warning("client %s could not take its leave: %s", self._announcement.client_id, error)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._beat()
            except (RedisError, OSError) as error:
                self._up = False
                logger.warning("client %s can't reach the broker: %s", self._announcement.client_id, error)
            self._wake.wait(self._announcement.heartbeat_s)
            self._wake.clear()

    def _beat(self) -> None:
        announcement = self._announcement
        if self._client.exists(away_key(announcement.client_id)):
            self._up = False
            return
        self._registry.announce(announcement)
        if not self._up:
            self._up = True
            self._registry.tell(announcement.client_id)
            state = "is leaving" if announcement.leaving else "joined"
            logger.info("client %s %s, with %d examples", announcement.client_id, state, announcement.num_examples)
