"""What clients have at the broker beside orders and blobs: its clock, turns to send, and what they were told.

What a client was told, to leave, or why it takes no part in the run, is kept in Redis for its heartbeat to find. An
order is carried out by a pool process, and the heartbeat runs in the worker's main process. A pool process that ended
its worker itself would do so before its answer is taken, and the worker would wait for that in vain. The heartbeat also
finds there what the runs that are on want announced.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from redis import Redis

from tasks.broker import run_lock
from tasks.broker.connection import Clock
from tasks.broker.turns import RedisTurns
from tasks.readable import readable
from tasks.scope import RUN_LOCK_KEY, ClientScope, result_key

_FOR_GOOD_TTL_S = 24 * 3600


class Connection:
    """What a client has that is in one process with its orchestrator: there is nobody to wait for, and no broker."""

    def time(self) -> float:
        """Return the seconds since 1970 by the clock that all sides share."""
        return time.time()

    def wait_for_turn(self, update_blob_name: str, run_id: str, timeout_s: float) -> None:
        """Return when it is this update's turn to be sent; see :meth:`tasks.broker.turns.RedisTurns.wait`."""

    def is_answered(self, order_id: str) -> bool:
        """Say whether the answer to an order is stored."""
        return False

    def leave(self, client_id: str, incarnation: str, seconds: float, run_id: str) -> None:
        """Leave a run: take the client's announcement down, and keep it down for that many seconds; 0: for good.

        For good means for this incarnation: when its worker is started anew, it is welcome again. As long as another
        run is on the announcement stays up.
        """


class RedisConnection(Connection):
    """The same at a Redis."""

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._clock = Clock(client)
        self._turns = RedisTurns(client)

    def time(self) -> float:
        """Return the seconds since 1970 by the broker's clock."""
        return self._clock()

    def wait_for_turn(self, update_blob_name: str, run_id: str, timeout_s: float) -> None:
        """Return when it is this update's turn; see :class:`Connection`."""
        self._turns.wait(update_blob_name, run_id, timeout_s)

    def is_answered(self, order_id: str) -> bool:
        """Say whether the answer to an order is stored."""
        return bool(self._redis.exists(result_key(order_id)))

    def leave(self, client_id: str, incarnation: str, seconds: float, run_id: str) -> None:
        """Leave a run; see :class:`Connection`. The main process's heartbeat does the rest."""
        is_wanted = any(notice.run_id != run_id for notice in run_lock.read_all(self._redis))
        if seconds <= 0:
            self._redis.set(ClientScope(client_id).away_key, f"{incarnation} {run_id}", ex=_FOR_GOOD_TTL_S)
        elif not is_wanted:
            self._redis.set(ClientScope(client_id).away_key, "", px=max(1, int(seconds * 1000)))
        if not is_wanted:
            self._redis.delete(ClientScope(client_id).key)


class Absence(Enum):
    """Whether a client is to stay away."""

    NONE = "none"
    FOR_NOW = "for now"
    FOR_GOOD = "for good"


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told by the orchestrator.

    Attributes:
        absence: Whether it is to stay away.
        left: The run that it is to stay away from for good.
        passed_over: Why it takes no part in a run that is on; empty if nothing was said.
    """

    absence: Absence
    left: str = ""
    passed_over: str = ""


def read_told(client: Redis, incarnations: Mapping[str, str]) -> tuple[dict[str, Told], list[run_lock.Notice]]:
    """Return what clients were told, in one round trip; that they are to stay away for good is said once.

    Args:
        client: The broker.
        incarnations: Client id -> incarnation.

    Returns:
        Client id -> what it was told; the notices of the runs that are on.
    """
    if not incarnations:
        return {}, []
    scopes = [ClientScope(client_id) for client_id in incarnations]
    keys = [RUN_LOCK_KEY, *(scope.away_key for scope in scopes), *(scope.passed_over_key for scope in scopes)]
    found_there: list[bytes | None] = client.mget(keys)  # type: ignore[assignment]  # no decoding
    notice, *values = found_there
    away, passed_over = values[: len(incarnations)], values[len(incarnations) :]
    found = {
        client_id: Told(*_absence(away_value, incarnation), _reason(reason_value, incarnation))
        for away_value, reason_value, (client_id, incarnation) in zip(
            away, passed_over, incarnations.items(), strict=True
        )
    }
    over = [ClientScope(client_id).away_key for client_id, told in found.items() if told.absence is Absence.FOR_GOOD]
    if over:
        client.delete(*over)
    return found, run_lock.decode_all(notice)


def _reason(value: bytes | None, incarnation: str) -> str:
    """Return why this start of a client is passed over; what was said to a former one is over."""
    whom, _, reason = (value or b"").decode("utf-8", "replace").partition(" ")
    return str(readable(reason)) if whom == incarnation else ""


def _absence(value: bytes | None, incarnation: str) -> tuple[Absence, str]:
    """Return whether this start of a client is to stay away, and from which run if it is for good."""
    if value == b"":
        return Absence.FOR_NOW, ""
    whom, _, run_id = (value or b"").decode("utf-8", "replace").partition(" ")
    return (Absence.FOR_GOOD, run_id) if whom == incarnation else (Absence.NONE, "")
