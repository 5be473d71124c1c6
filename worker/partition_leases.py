"""A lease on a partition: which part of a data set that all share is this client's, when nobody has said.

A lease is an entry of a hash in Redis. A client that comes back finds its own again; the lease of one that is gone may
be taken by another. There are as many as the run has clients: one more waits until one is free.
"""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.exceptions import RedisError

from tasks.broker import run_lock
from tasks.protocol import difference
from tasks.scope import CLIENT_KEY_PREFIX, leases_key
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
    index = int(
        client.eval(
            _TAKE, 1, leases_key(notice.num_parts), client_id, str(notice.num_parts), str(_HOLD_S), CLIENT_KEY_PREFIX
        )
    )
    return Part(index, notice.num_parts) if index >= 0 else None
