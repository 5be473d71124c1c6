"""The notice that a running orchestrator keeps up: which run this is, how data is split, what clients are to tell.

It is also the lock that keeps a second orchestrator off the same broker.
"""

from __future__ import annotations

import logging
import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis import Redis
from redis.exceptions import RedisError

from tasks.announcement import Details
from tasks.broker.connection import check_keeps_all
from tasks.broker.refusals import away
from tasks.errors import FederationBusyError
from tasks.names import ID_PATTERN
from tasks.protocol import PROTOCOL, difference, version
from tasks.scope import RUN_LOCK_KEY

logger = logging.getLogger(__name__)

LIFETIME_S = 10
"""Seconds that a notice outlives its last refreshing by."""

_PUT_UP = """
local value = redis.call('GET', KEYS[1])
local known, notice = pcall(cjson.decode, value)
local is_notice = value and known and type(notice) == 'table' and type(notice.run_id) == 'string'
if is_notice and notice.run_id ~= ARGV[1] then return value end
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
    """What the orchestrator makes known to clients: its run, into how many parts data is split, what to announce."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    num_parts: Annotated[int, Field(ge=1, le=1_000_000)]
    protocol: Annotated[int, Field(ge=1)] = PROTOCOL
    """See :mod:`tasks.protocol`."""
    version: Annotated[str, Field(max_length=50)] = Field(default_factory=version)
    """Version of the orchestrator's celeriac."""
    wants: Details = ()
    """Details that clients are to announce, as the run goes by them."""

    @property
    def wanted(self) -> Details:
        """Details that clients of this version are to announce: none, if the run speaks another protocol."""
        return () if difference(self.protocol) else self.wants


class RunLock:
    """The notice of a run, kept up as long as the run is on.

    Args:
        client: A client for the broker that gives up at once: what fails is done again soon.
        notice: What the notice says.
    """

    def __init__(self, client: Redis, notice: Notice) -> None:
        self._client = client
        self._notice = notice
        self._refreshed = 0.0

    def put_up(self) -> None:
        """Put the notice up, or refresh it.

        Raises:
            FederationBusyError: If the notice of another run is up.
        """
        run_id, text = self._notice.run_id, self._notice.model_dump_json()
        if self._client.eval(_PUT_UP, 1, RUN_LOCK_KEY, run_id, text, str(LIFETIME_S)):
            check_free(self._client, run_id)
        self._refreshed = time.monotonic()

    def refresh(self) -> None:
        """Keep the notice up, if it is time to.

        Raises:
            ConfigurationError: If the broker was set to remove keys since the run began.
            FederationBusyError: If the notice of another run is up.
        """
        if time.monotonic() - self._refreshed < LIFETIME_S / 4:
            return
        try:
            self.put_up()
            check_keeps_all(self._client)
        except (RedisError, OSError) as error:
            logger.warning("%s", away(error))

    def take_down(self) -> None:
        """Take the notice down."""
        try:
            self._client.eval(_TAKE_DOWN, 1, RUN_LOCK_KEY, self._notice.run_id)
        except (RedisError, OSError) as error:
            logger.warning("the run's notice could not be taken down: %s", error)


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


def read(client: Redis) -> Notice | None:
    """Return the notice that is up, or None."""
    value: bytes | None = client.get(RUN_LOCK_KEY)  # type: ignore[assignment]  # a client without decoding
    return decode(value)


def decode(value: bytes | None) -> Notice | None:
    """Return the notice that a value at the broker is; None if it is none."""
    try:
        return Notice.model_validate_json(value, extra="ignore") if value is not None else None
    except ValidationError:
        return None
