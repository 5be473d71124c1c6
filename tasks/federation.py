"""The notice that a running orchestrator keeps up: which run this is, and into how many parts data is to be split.

It is also the lock that keeps a second orchestrator off the same broker.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis import Redis

from tasks.errors import FederationBusyError
from tasks.names import FEDERATION_KEY, ID_PATTERN

LIFETIME_S = 10
"""Seconds that a notice outlives its last refreshing by."""

_PUT_UP = """
local value = redis.call('GET', KEYS[1])
local known, notice = pcall(cjson.decode, value)
if value and known and type(notice) == 'table' and notice.run_id ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return false
"""
_TAKE_DOWN = """
local value = redis.call('GET', KEYS[1])
local known, notice = pcall(cjson.decode, value)
if value and known and type(notice) == 'table' and notice.run_id == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Notice(BaseModel):
    """What the orchestrator makes known to clients that come: its run, and the number of parts of shared data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    num_parts: Annotated[int, Field(ge=1, le=1_000_000)]


def put_up(client: Redis, notice: Notice) -> None:
    """Put up or refresh ``notice``.

    Raises:
        FederationBusyError: If the notice of another run is up.
    """
    other = client.eval(_PUT_UP, 1, FEDERATION_KEY, notice.run_id, notice.model_dump_json(), str(LIFETIME_S))
    if other:
        check_free(client, notice.run_id)


def check_free(client: Redis, run_id: str) -> None:
    """Check that no other run's notice is up.

    Raises:
        FederationBusyError: If there is one.
    """
    notice = read(client)
    if notice is not None and notice.run_id != run_id:
        raise FederationBusyError(
            f"another orchestrator is at work on this broker, with run {notice.run_id}: wait until it ends "
            f"({LIFETIME_S} s if it was killed), or give this run a Redis database of its own"
        )


def take_down(client: Redis, run_id: str) -> None:
    """Take this run's notice down."""
    client.eval(_TAKE_DOWN, 1, FEDERATION_KEY, run_id)


def read(client: Redis) -> Notice | None:
    """Return the notice that is up, or None."""
    value: bytes | None = client.get(FEDERATION_KEY)  # type: ignore[assignment]  # a client without decoding
    try:
        return Notice.model_validate_json(value) if value is not None else None
    except ValidationError:
        return None
