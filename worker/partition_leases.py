"""A lease on a partition: which part of a data set that all share is this client's, when nobody has said.

A lease is a key of the client's in Redis, to which nobody else writes. A client that comes back finds its own again,
unless another has taken the part that it left, and is there. There are as many parts as the run has clients: one more
waits until one is free.
"""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.exceptions import RedisError

from tasks.broker import run_lock
from tasks.protocol import difference
from tasks.scope import CLIENT_KEY_PREFIX, PART_KEY_PREFIX, ClientScope
from tasks.workload import Part

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_TTL_S = 24 * 3600
_HOLD_S = 120
"""Seconds for which a lease holds before its client has announced itself."""
_TAKE = """
local count, ttl_s, hold_s, prefix = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local own, taken, lives, cursor = nil, {}, {}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local value = redis.pcall('GET', key)
    local index, of = string.match(type(value) == 'string' and value or '', '^(%d+)/(%d+)$')
    index = tonumber(index)
    if tonumber(of) == count and index < count then
      if key == KEYS[1] then
        own = index
      else
        taken[index] = true
        local is_held = redis.call('TTL', key) > ttl_s - hold_s
        lives[index] = lives[index] or is_held or redis.call('EXISTS', ARGV[5] .. string.sub(key, #prefix + 1)) == 1
      end
    end
  end
until cursor == '0'
local function first(is_out)
  for index = 0, count - 1 do
    if not is_out[index] then return index end
  end
end
if own and lives[own] then own = nil end
local index = own or first(taken) or first(lives)
if not index then return -1 end
redis.call('SET', KEYS[1], string.format('%d/%d', index, count), 'EX', ttl_s)
return index
"""
"""Own key -> a part: the client's own, else a free one, else one whose client is gone."""


def wait_for_part(client: Redis, client_id: str) -> Part:
    """Wait until an orchestrator says how many parts there are, and one of them is free; take it.

    Waits as long as it takes, as a worker waits for orders; a signal ends it. It tells what for, once each.
    """
    told = ""
    while True:
        try:
            notice = run_lock.read(client)
            part = None if notice is None or difference(notice.protocol) else take_lease(client, client_id, notice)
        except (RedisError, OSError) as error:
            why, level, part = f"can't reach the broker yet, and tries on: {error}", logging.WARNING, None
        else:
            if part is not None:
                return part
            why, level = _awaited(notice)
        if why != told:
            logger.log(level, "client %s %s", client_id, why)
        told = why
        time.sleep(_POLL_S)


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


def take_lease(client: Redis, client_id: str, notice: run_lock.Notice) -> Part | None:
    """Take this client's lease in the run of ``notice``; None if all are taken, as two would train on the same data."""
    arguments = (str(notice.num_parts), str(_TTL_S), str(_HOLD_S), PART_KEY_PREFIX, CLIENT_KEY_PREFIX)
    index = int(client.eval(_TAKE, 1, ClientScope(client_id).part_key, *arguments))
    return Part(index, notice.num_parts) if index >= 0 else None
