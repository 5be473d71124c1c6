"""Parts of a data set that all share, granted to clients that ask for one: no two that are there have the same.

A client that waits says so in a key of its own, which expires soon, and on the channel that tells of clients. What it
is granted is in another, which nobody but the orchestrator writes. A client that comes back is granted its own part
again, unless another has taken the one that it left, and is there. There are as many parts as the run has clients: one
more waits until one is free.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable

from redis import Redis
from redis.exceptions import RedisError

from tasks.announcement import Announcement
from tasks.broker.refusals import away
from tasks.errors import BrokerUnreachableError
from tasks.scope import CLIENT_KEY_PREFIX, PART_KEY_PREFIX, WANTS_PART_PREFIX, ClientScope

logger = logging.getLogger(__name__)

TTL_S = 24 * 3600
HOLD_S = 120
"""Seconds for which a part is held before its client has announced itself."""
KEEP_S = 60.0
"""Seconds between two times that it is noted anew who is there with which part."""
_AT_ONCE = 100
"""Clients that the server grants parts in one step."""
_GRANT = """
local count, ttl_s, hold_s = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local part_of, wants_part_of, client_of = ARGV[4], ARGV[5], ARGV[6]
local part, is_live, num_with, num_live, cursor = {}, {}, {}, {}, '0'
local function count_in(id, by)
  local index = part[id]
  num_with[index] = (num_with[index] or 0) + by
  num_live[index] = (num_live[index] or 0) + (is_live[id] and by or 0)
end
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', part_of .. '*', 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local id, value = string.sub(key, #part_of + 1), redis.pcall('GET', key)
    local index, of = string.match(type(value) == 'string' and value or '', '^(%d+)/(%d+) %x+$')
    index = tonumber(index)
    if tonumber(of) == count and index < count and not part[id] then
      part[id] = index
      is_live[id] = redis.call('TTL', key) > ttl_s - hold_s or redis.call('EXISTS', client_of .. id) == 1
      count_in(id, 1)
    end
  end
until cursor == '0'
local function first_without(num)
  for index = 0, count - 1 do
    if (num[index] or 0) == 0 then return index end
  end
end
for _, key in ipairs(KEYS) do
  local id, asked = string.sub(key, #wants_part_of + 1), redis.pcall('GETRANGE', key, 0, 32)
  if type(asked) == 'string' and #asked <= 32 and string.match(asked, '^%x+$') then
    local own = part[id]
    if own then count_in(id, -1) end
    local index = own
    if not own or num_live[own] > 0 then index = first_without(num_with) or first_without(num_live) end
    if index then
      redis.call('SET', part_of .. id, string.format('%d/%d %s', index, count, asked), 'EX', ttl_s)
      redis.call('DEL', key)
      part[id], is_live[id] = index, true
    end
    if part[id] then count_in(id, 1) end
  end
end
"""
"""Keys of those that ask -> a part for each: its own, else a free one, else one whose client is gone.

With a part goes what was asked with, so that a client sees that it is granted now and not what it once had.
"""


class PartGrants:
    """Grants parts in a run that is on.

    Args:
        client: A client for the broker that gives up at once: who isn't granted a part soon asks again.
        num_parts: How many there are.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, num_parts: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._num_parts = num_parts
        self._clock = clock
        self._next = -math.inf
        self._noted: dict[str, str] = {}

    def keep(self, announcements: Iterable[Announcement]) -> None:
        """Note who is there with which part: who is new at once, and all once a minute, as keys expire or are lost."""
        having = {said.client_id: said.part for said in announcements if said.num_parts == self._num_parts}
        is_due = self._clock() >= self._next
        fresh = having if is_due else dict(having.items() - self._noted.items())
        if is_due:
            self._next = self._clock() + KEEP_S
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for client_id, part in fresh.items():
                    key = ClientScope(client_id).part_key
                    pipe.set(key, f"{part} 0", ex=TTL_S, nx=True)
                    pipe.expire(key, TTL_S - HOLD_S)
                pipe.execute()
            self._noted = having
        except (RedisError, OSError) as error:
            logger.warning("who has which part of the data couldn't be noted: %s", away(error))

    def look(self, present: Callable[[], dict[str, Announcement]]) -> dict[str, Announcement]:
        """Return who is there, as ``present`` says, and note their parts: all anew if the broker may know none.

        Raises:
            BrokerUnreachableError: If ``present`` does.
        """
        try:
            found = present()
        except BrokerUnreachableError:
            self._noted = {}
            raise
        self.keep(found.values())
        return found

    def grant(self, client_ids: Collection[str]) -> None:
        """Grant a part to each of these clients that asks for one, as far as there are any left."""
        keys = [ClientScope(client_id).wants_part_key for client_id in dict.fromkeys(client_ids)]
        arguments = (self._num_parts, TTL_S, HOLD_S, PART_KEY_PREFIX, WANTS_PART_PREFIX, CLIENT_KEY_PREFIX)
        try:
            for start in range(0, len(keys), _AT_ONCE):
                asking = keys[start : start + _AT_ONCE]
                self._client.eval(_GRANT, len(asking), *asking, *map(str, arguments))
        except (RedisError, OSError) as error:
            logger.warning("parts of the data couldn't be granted: %s", away(error))
