"""A client's absence: that it was told to leave, kept in Redis for its heartbeat to find.

The order is carried out by a pool process, and the heartbeat runs in the worker's main process. A pool process that
ended its worker itself would do so before its answer is taken, and the worker would wait for that in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from redis import Redis

from tasks.names import away_key, client_key

_FOR_GOOD_TTL_S = 24 * 3600


class Absence(Enum):
    """Whether a client is to stay away."""

    NONE = "none"
    FOR_NOW = "for now"
    FOR_GOOD = "for good"


class RedisAbsence:
    """The absence of one client."""

    def __init__(self, client: Redis, client_id: str) -> None:
        self._client = client
        self._client_id = client_id
        self._key = away_key(client_id)

    def begin(self, incarnation: str, seconds: float) -> None:
        """Take the client's announcement down, and keep it down for that many seconds; 0: for good.

        For good means for this incarnation: when its worker is started anew, it is welcome again.
        """
        if seconds > 0:
            self._client.set(self._key, "", px=max(1, int(seconds * 1000)))
        else:
            self._client.set(self._key, incarnation, ex=_FOR_GOOD_TTL_S)
        self._client.delete(client_key(self._client_id))


def absences(client: Redis, incarnations: Mapping[str, str]) -> dict[str, Absence]:
    """Say which clients are to stay away, in one round trip; that it is for good is said once.

    Args:
        client: The broker.
        incarnations: Client id -> incarnation.
    """
    if not incarnations:
        return {}
    values: list[bytes | None] = client.mget([away_key(client_id) for client_id in incarnations])  # type: ignore[assignment]  # no decoding
    found = {
        client_id: _absence(value, incarnation)
        for value, (client_id, incarnation) in zip(values, incarnations.items(), strict=True)
    }
    over = [away_key(client_id) for client_id, absence in found.items() if absence is Absence.FOR_GOOD]
    if over:
        client.delete(*over)
    return found


def _absence(value: bytes | None, incarnation: str) -> Absence:
    if value == b"":
        return Absence.FOR_NOW
    return Absence.FOR_GOOD if value == incarnation.encode() else Absence.NONE
