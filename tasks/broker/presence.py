"""Who is there: every client keeps an announcement of itself alive, and says in it when it is leaving.

An announcement is a key that expires unless it is refreshed, so a client that vanishes is gone within
``LIFETIME_HEARTBEATS`` heartbeats; a message on a channel tells at once of those that join or leave in good order.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import chain

from pydantic import ValidationError
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from tasks.announcement import MAX_ANNOUNCEMENT_BYTES, Announcement, PassedOver
from tasks.broker.refusals import away
from tasks.errors import BrokerUnreachableError
from tasks.scope import CLIENT_KEY_PREFIX, PRESENCE_CHANNEL, ClientScope
from tasks.trust.signing import ANNOUNCEMENT, Clients, NotSignedError, Site, check_signed, signed

logger = logging.getLogger(__name__)

LIFETIME_HEARTBEATS = 2.5
"""Heartbeats that an announcement outlives its last refreshing by: two may be missed."""
_SCAN_COUNT = 5000
"""Keys that the server looks at in one step: a millisecond or two."""

_READ = """
local found, most = {}, tonumber(ARGV[1])
for index, key in ipairs(KEYS) do
  local length = redis.pcall('STRLEN', key)
  found[index] = type(length) == 'number' and length <= most and redis.call('GET', key)
end
return found
"""
"""As ``MGET``, but of what is longer than an announcement may be nothing is sent."""
_AT_ONCE = 1000
"""Announcements that the server reads in one step: a few milliseconds."""


class RedisRegistry:
    """Announcements in Redis, a key each that expires.

    What clients do takes no script: they may run none.

    Args:
        client: A client for the broker.
        site: Signs what is announced; None: it isn't signed.
        clients: Whose keys announcements have to be signed with; None: they aren't.
    """

    def __init__(self, client: Redis, site: Site | None = None, clients: Clients | None = None) -> None:
        self._client = client
        self._site = site
        self._clients = clients
        self._read: dict[bytes, tuple[bytes | None, Announcement | None]] = {}
        self._up: dict[str, Announcement] = {}

    def announce_all(self, announcements: Sequence[Announcement]) -> list[Announcement | None]:
        """Put up or refresh announcements in two round trips; return of each the one of its client that was there.

        Those that stand as they were put up before aren't sent again: a worker may have thousands.
        """
        standing = self._refresh([said for said in announcements if self._is_up(said)])
        others = [said for said in announcements if said.client_id not in standing]
        former = dict(zip((said.client_id for said in others), self._put_up(others), strict=True))
        return [former.get(said.client_id, said) for said in announcements]

    def _is_up(self, announcement: Announcement) -> bool:
        """Say whether an announcement, this very object, is the last that was put up of its client."""
        return self._up.get(announcement.client_id) is announcement

    def _refresh(self, announcements: Sequence[Announcement]) -> set[str]:
        """Keep from expiring what is there, and return of which clients it is what was put up.

        What another has put up in its place lives on for it, until one's own is put up again.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for said in announcements:
                _ask_for_beginning(pipe, said)
                pipe.pexpire(ClientScope(said.client_id).key, _lifetime_ms(said))
            found = pipe.execute(raise_on_error=False)[::2]
        return {said.client_id for said, begins in zip(announcements, found, strict=True) if begins == _beginning(said)}

    def _put_up(self, announcements: Sequence[Announcement]) -> list[Announcement | None]:
        values = [self._written(announcement).encode() for announcement in announcements]
        with self._client.pipeline(transaction=False) as pipe:
            for announcement, value in zip(announcements, values, strict=True):
                pipe.set(ClientScope(announcement.client_id).key, value, px=_lifetime_ms(announcement), get=True)
            former = pipe.execute()
        self._up.update({announcement.client_id: announcement for announcement in announcements})
        return [
            announcement if was == value else _decode(was)
            for announcement, value, was in zip(announcements, values, former, strict=True)
        ]

    def _written(self, announcement: Announcement) -> str:
        if self._site is None:
            return announcement.model_dump_json()
        message = signed(ANNOUNCEMENT, announcement.model_dump(mode="json"), self._site.key)
        return json.dumps(message, separators=(",", ":"))

    def tell(self, client_id: str) -> None:
        """Wake whoever waits for clients."""
        self._client.publish(PRESENCE_CHANNEL, client_id)

    def announce_all_leaving(self, announcements: Sequence[Announcement]) -> None:
        """Say that clients are leaving, if what they announced is still up; it expires like any announcement."""
        with self._client.pipeline(transaction=False) as pipe:
            for announcement in announcements:
                _ask_for_beginning(pipe, announcement)
            found = pipe.execute(raise_on_error=False)
            for announcement, begins in zip(announcements, found, strict=True):
                if begins == _beginning(announcement):
                    leaving = announcement.model_copy(update={"leaving": True})
                    pipe.set(ClientScope(leaving.client_id).key, self._written(leaving), px=_lifetime_ms(leaving))
            pipe.execute()

    def present(self) -> dict[str, Announcement]:
        """Return all live announcements by client id; what isn't one is passed over.

        It takes a round trip, a second one where clients have come or gone, or a few where there are many other keys.
        What stands as it stood at the last look is not decoded again, as that would take most of the time with many
        clients.

        Raises:
            BrokerUnreachableError: If the broker is away.
        """
        try:
            keys, values = self._look()
        except (RedisError, OSError) as error:
            raise BrokerUnreachableError(away(error)) from None
        read = self._read
        self._read = {
            key: read[key] if key in read and read[key][0] == value else (value, self._decode_at(key, value))
            for key, value in zip(keys, values, strict=True)
        }
        found = [announcement for _, announcement in self._read.values() if announcement is not None]
        return {announcement.client_id: announcement for announcement in found}

    def say_passed_over(self, reasons: PassedOver) -> None:
        """Tell clients, in one round trip, why they take no part in the run; it stays as long as they need to read it.

        Raises:
            BrokerUnreachableError: If the broker is away.
        """
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for client_id, (said, reason) in reasons.items():
                    value = f"{said.incarnation} {reason}"
                    pipe.set(ClientScope(client_id).passed_over_key, value, px=_lifetime_ms(said))
                pipe.execute()
        except (RedisError, OSError) as error:
            raise BrokerUnreachableError(away(error)) from None

    def _decode_at(self, key: bytes, value: bytes | None) -> Announcement | None:
        """Return the announcement that stands under a key, if it is one of the client that the key is for."""
        announcement = _decode(value)
        if value is None or announcement is None or ClientScope(announcement.client_id).key.encode() != key:
            return None
        try:
            if self._clients is not None:
                check_signed(ANNOUNCEMENT, json.loads(value), self._clients.key_of(announcement.client_id))
        except NotSignedError as error:
            logger.warning("the announcement of client %s isn't taken: %s", announcement.client_id, error)
            return None
        return announcement

    def _look(self) -> tuple[list[bytes], list[bytes | None]]:
        """Return the keys of announcements, sorted, and what stands there."""
        pattern, known = f"{CLIENT_KEY_PREFIX}*", list(self._read)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.scan(match=pattern, count=_SCAN_COUNT)
            _ask_for(pipe, known)
            (cursor, found), *values = pipe.execute()
        if cursor == 0 and sorted(found) == known:
            return known, [*chain.from_iterable(values)]
        keys: list[bytes] = sorted(self._client.scan_iter(match=pattern, count=_SCAN_COUNT))
        with self._client.pipeline(transaction=False) as pipe:
            _ask_for(pipe, keys)
            return keys, [*chain.from_iterable(pipe.execute())]


def _ask_for(pipe: Pipeline, keys: Sequence[bytes]) -> None:
    """Have a pipeline read announcements, as lists one after the other."""
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        pipe.eval(_READ, len(part), *part, str(MAX_ANNOUNCEMENT_BYTES))


def _beginning(announcement: Announcement) -> bytes:
    """Return what begins an announcement, which no other client's or incarnation's begins with."""
    return announcement.model_dump_json(include={"client_id", "incarnation"})[:-1].encode()


def _ask_for_beginning(pipe: Pipeline, announcement: Announcement) -> None:
    """Have a pipeline read what is there, as far as is needed to tell whose it is."""
    pipe.getrange(ClientScope(announcement.client_id).key, 0, len(_beginning(announcement)) - 1)


def _lifetime_ms(announcement: Announcement) -> int:
    return int(announcement.heartbeat_s * LIFETIME_HEARTBEATS * 1000)


def _decode(value: bytes | str | None) -> Announcement | None:
    if value is None:
        return None
    try:
        return Announcement.model_validate_json(value, extra="ignore")
    except ValidationError:
        return None
