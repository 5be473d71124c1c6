"""A lease on a partition: which part of a data set that all share is this client's, when nobody has said.

The orchestrator grants it: a client says that it waits for one, in a key of its own and on a channel, and finds it in
another key, which it only reads. There are as many parts as the run has clients: one more waits until one is free.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from tasks.broker import run_lock
from tasks.protocol import difference
from tasks.scope import PRESENCE_CHANNEL, ClientScope
from tasks.workload import Part

logger = logging.getLogger(__name__)

_POLL_S, _QUICK_POLL_S = 0.2, 0.02
"""Seconds between two looks, and as long as an answer may come at any moment."""
_PROMPT_S = 1.0
"""Seconds in which a part is granted if one is free."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
"""Seconds between two times that a client asks, which get longer."""
_ASKING_S = 4
"""Seconds for which it is known at the broker that a client asks."""
_MAX_BYTES = 64


class Asking:
    """A client that asks for a part.

    Args:
        client: A client for the broker.
        client_id: Who asks.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, client_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._scope = ClientScope(client_id)
        self._clock = clock
        self._word = secrets.token_hex(8)
        self._run_id = ""
        self._began = self._next_at = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def part(self, notice: run_lock.Notice) -> Part | None:
        """Return the part that was granted in the run of ``notice``; if none was, ask for it, if it is time to."""
        value: bytes = self._client.getrange(self._scope.part_key, 0, _MAX_BYTES)  # type: ignore[assignment]  # no decoding
        granted = value.decode("ascii", "replace")
        if match := re.fullmatch(rf"([0-9]{{1,7}})/{notice.num_parts} {self._word}", granted):
            return Part(int(match[1]), notice.num_parts)
        if notice.run_id != self._run_id:
            self._run_id, self._pause_s = notice.run_id, _FIRST_PAUSE_S
            self._began = self._next_at = self._clock()
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._client.set(self._scope.wants_part_key, self._word, ex=_ASKING_S)
            self._client.publish(PRESENCE_CHANNEL, self._scope.wants_part_key)
        return None

    def is_fresh(self) -> bool:
        """Say whether it began to ask in this run so short a time ago that an answer may come at any moment."""
        return self._clock() - self._began < _PROMPT_S


def wait_for_part(client: Redis, client_id: str) -> Part:
    """Wait until an orchestrator says how many parts there are, and grants one.

    Waits as long as it takes, as a worker waits for orders; a signal ends it. It tells what for, once each.
    """
    told, asking = "", Asking(client, client_id)
    while True:
        pause_s = _POLL_S
        try:
            notice = run_lock.read(client)
            asks = notice is not None and not difference(notice.protocol)
            part = asking.part(notice) if notice is not None and asks else None
        except (RedisError, OSError) as error:
            why, level = f"can't reach the broker yet, and tries on: {error}", logging.WARNING
        else:
            if part is not None:
                return part
            why, level = _awaited(notice)
            if asks and asking.is_fresh():
                why, pause_s = told, _QUICK_POLL_S
        if why != told:
            logger.log(level, "client %s %s", client_id, why)
        told = why
        time.sleep(pause_s)


def _awaited(notice: run_lock.Notice | None) -> tuple[str, int]:
    """Return what a client without a part waits for, in words, and the level at which that is told."""
    if notice is None:
        return "waits for an orchestrator to say how data is split", logging.INFO
    if why := difference(notice.protocol, notice.version):
        return f"can't take part in run {notice.run_id}: {why}", logging.WARNING
    return (
        f"waits until one of the {notice.num_parts} parts of the data is free, as run {notice.run_id} has that many "
        "clients: start it with a larger --clients, or set CLIENT_PART or, for data of its own, CLIENT_DATA and "
        "CLIENT_PART=1/1",
        logging.WARNING,
    )
