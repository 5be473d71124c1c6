"""Taking a seat: which part of a data set that all share is this client's, when nobody has said.

A seat is an entry of a hash in Redis. A client that comes back finds its own again; the seat of one that is gone may
be taken by another.
"""

from __future__ import annotations

import logging
import time
import zlib

from redis import Redis
from redis.exceptions import RedisError

from tasks import federation
from tasks.names import CLIENT_KEY_PREFIX, seats_key
from tasks.workload import Part

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_HOLD_S = 120
_TAKE = """
local me, count, hold_s = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local taken = {}
local function take(index)
  redis.call('HSET', KEYS[1], index, me)
  redis.call('EXPIRE', KEYS[1], 86400)
  redis.call('SET', KEYS[1] .. ':hold:' .. me, 1, 'EX', hold_s)
  return index
end
for index = 0, count - 1 do
  taken[index] = redis.call('HGET', KEYS[1], index)
  if taken[index] == me then return take(index) end
end
for index = 0, count - 1 do
  if not taken[index] then return take(index) end
end
for index = 0, count - 1 do
  local there = redis.call('EXISTS', ARGV[4] .. taken[index], KEYS[1] .. ':hold:' .. taken[index])
  if there == 0 then return take(index) end
end
return -1
"""


def wait_for_part(client: Redis, client_id: str) -> Part:
    """Wait until an orchestrator says how many parts there are, and take one of them.

    Waits as long as it takes, as a worker waits for orders; a signal ends it.
    """
    told = False
    while True:
        try:
            notice = federation.read(client)
            if notice is not None:
                return take_seat(client, client_id, notice)
            if not told:
                logger.info("client %s waits for an orchestrator to say how data is split", client_id)
        except (RedisError, OSError) as error:
            if not told:
                logger.warning("client %s can't reach the broker yet, and tries on: %s", client_id, error)
        told = True
        time.sleep(_POLL_S)


def take_seat(client: Redis, client_id: str, notice: federation.Notice) -> Part:
    """Take this client's seat in the run of ``notice``; with all taken, share one and say so."""
    index = int(
        client.eval(
            _TAKE, 1, seats_key(notice.num_parts), client_id, str(notice.num_parts), str(_HOLD_S), CLIENT_KEY_PREFIX
        )
    )
    if index < 0:
        index = zlib.crc32(client_id.encode()) % notice.num_parts
        logger.warning(
            "all %d parts of the data are taken: client %s shares part %d with another (set CLIENT_PART)",
            notice.num_parts,
            client_id,
            index + 1,
        )
    return Part(index, notice.num_parts)
