"""The notices that running orchestrators keep up: which runs are on, how data is split, what clients are to tell.

Several runs may be on at a time. Their notices are under one key, which clients read: the oldest run's, and in it those
of the others. Each orchestrator keeps up its own, and takes away those that nobody keeps up any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
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
MAX_RUNS = 16
"""Runs that may be on at a time."""
_MAX_TRIES = 100
"""Times that a notice is put up anew where another orchestrator was quicker."""

_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return 1
"""


class Notice(BaseModel):
    """What an orchestrator makes known to clients: its run, into how many parts data is split, what to announce."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: Annotated[str, Field(pattern=ID_PATTERN)]
    num_parts: Annotated[int, Field(ge=1, le=1_000_000)]
    protocol: Annotated[int, Field(ge=1)] = PROTOCOL
    """See :mod:`tasks.protocol`."""
    version: Annotated[str, Field(max_length=50)] = Field(default_factory=version)
    """Version of the orchestrator's celeriac."""
    wants: Details = ()
    """Details that clients are to announce, as the run goes by them."""
    order_s: Annotated[float, Field(ge=0, le=10**7)] = 0.0
    """Seconds for which an order of the run may keep a client from those of others."""
    until: Annotated[float, Field(ge=0, le=10**12)] = 0.0
    """When the notice is void unless it is refreshed, by the broker's clock; versions that bore no others said none."""

    @property
    def wanted(self) -> Details:
        """Details that clients of this version are to announce: none, if the run speaks another protocol."""
        return () if difference(self.protocol) else self.wants


class _Notices(Notice):
    """What is under the key: the notice of the oldest run that is on, and those of the others."""

    others: Annotated[tuple[Notice, ...], Field(max_length=MAX_RUNS - 1)] = ()


class RunLock:
    """The notice of a run, kept up as long as the run is on.

    Args:
        client: A client for the broker that gives up at once: what fails is done again soon.
        notice: What the notice says.

    Attributes:
        is_oldest: Whether the run was the oldest of all that were on when the notice was last put up.
    """

    def __init__(self, client: Redis, notice: Notice) -> None:
        self._client = client
        self._notice = notice
        self._refreshed = 0.0
        self._others: Sequence[Notice] = ()
        self.is_oldest = False

    def put_up(self) -> None:
        """Put the notice up, or refresh it.

        Raises:
            FederationBusyError: If there may be none beside those of other runs.
        """
        seconds, _ = self._client.time()
        self._replace(lambda found: self._with_own(found, float(seconds)))
        self._refreshed = time.monotonic()

    def _with_own(self, found: Sequence[Notice], now: float) -> list[Notice]:
        """Return what is to be there in the place of what was found: the run's own keeps its place."""
        own = self._notice.model_copy(update={"until": now + LIFETIME_S})
        there = [each for each in found if each.run_id == own.run_id or not 0 < each.until < now]
        # Where the broker's clock was set back, one that nobody keeps up goes in good time all the same.
        there = [each.model_copy(update={"until": min(each.until, own.until)}) for each in there]
        self._others = [each for each in there if each.run_id != own.run_id]
        _check_room(self._others)
        there = [own if each.run_id == own.run_id else each for each in there]
        kept = there if len(there) > len(self._others) else [*there, own]
        self.is_oldest = kept[0] is own
        return kept

    def refresh(self) -> None:
        """Keep the notice up, if it is time to.

        Raises:
            ConfigurationError: If the broker was set to remove keys since the run began.
            FederationBusyError: If there may be none beside those of other runs.
        """
        if time.monotonic() - self._refreshed < LIFETIME_S / 4:
            return
        try:
            self.put_up()
            check_keeps_all(self._client)
        except (RedisError, OSError) as error:
            logger.warning("%s", away(error))

    def others(self) -> Sequence[Notice]:
        """Return the notices of the other runs that are on now; while the broker is away, those that were last."""
        with suppress(RedisError, OSError):
            self._others = [each for each in read_all(self._client) if each.run_id != self._notice.run_id]
        return self._others

    def take_down(self) -> None:
        """Take the notice down."""
        try:
            self._replace(lambda found: [each for each in found if each.run_id != self._notice.run_id])
        except (RedisError, OSError) as error:
            logger.warning("the run's notice could not be taken down: %s", error)

    def _replace(self, change: Callable[[Sequence[Notice]], list[Notice]]) -> None:
        """Replace the notices that are there, unless another orchestrator does so in between; then try again."""
        for _ in range(_MAX_TRIES):
            value: bytes | None = self._client.get(RUN_LOCK_KEY)  # type: ignore[assignment]  # a client without decoding
            text = _written(change(decode_all(value)))
            if self._client.eval(_REPLACE, 1, RUN_LOCK_KEY, value or b"", text, str(LIFETIME_S)):
                return


def _written(notices: Sequence[Notice]) -> str:
    if not notices:
        return ""
    first, *others = notices
    return _Notices(**dict(first), others=tuple(others)).model_dump_json()


def check_free(client: Redis, run_id: str) -> None:
    """Check that a run may be on beside those that are.

    Raises:
        FederationBusyError: If it may not.
    """
    _check_room([notice for notice in read_all(client) if notice.run_id != run_id])


def _check_room(others: Sequence[Notice]) -> None:
    """Check that a run may be on beside others.

    Raises:
        FederationBusyError: If it may not.
    """
    for notice in others:
        if not notice.until:
            raise FederationBusyError(
                f"another orchestrator is at work on this broker with run {notice.run_id}, and bears none beside it "
                f"(version {notice.version}): wait until it ends ({LIFETIME_S} s if it was killed)"
            )
    if len(others) >= MAX_RUNS:
        raise FederationBusyError(
            f"{len(others)} runs are on at this broker ({others[0].run_id}, …), {MAX_RUNS} may be: wait until one ends "
            f"({LIFETIME_S} s if it was killed)"
        )


def read(client: Redis) -> Notice | None:
    """Return the notice of the oldest run that is on, or None."""
    return next(iter(read_all(client)), None)


def read_all(client: Redis) -> list[Notice]:
    """Return the notices of all runs that are on, the oldest first."""
    value: bytes | None = client.get(RUN_LOCK_KEY)  # type: ignore[assignment]  # a client without decoding
    return decode_all(value)


def decode_all(value: bytes | None) -> list[Notice]:
    """Return the notices that a value at the broker holds, the oldest run's first; none if it holds anything else."""
    try:
        found = _Notices.model_validate_json(value, extra="ignore") if value is not None else None
    except ValidationError:
        return []
    if found is None:
        return []
    return [Notice(**found.model_dump(exclude={"others"})), *found.others]
