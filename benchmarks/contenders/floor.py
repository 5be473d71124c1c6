"""A floor: the bytes of a round through the server, and a sum, by one process, one after the other, and nothing else.

Neither digests nor disks nor queues nor several processes; what is summed is float32, as is what it is summed in.
It is run as ``python -m benchmarks.contenders.floor URL CLIENTS MEGABYTES ROUNDS RESULT``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from redis import Redis

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.programs import IDLE_S, Programs, rounds_with_server, write_json
from benchmarks.drift import NUM_ARRAYS, Values, array_size, step

CHUNK_BYTES = 8 * 2**20
ROLES = (("valkey-server", "broker"), ("contenders.floor", "clients"))


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of the data path.

    Attributes:
        tcp: Whether the server is reached by TCP's loopback, or by a unix socket.
    """

    tcp: bool = False

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""

        def start(started: Programs, url: str, result: Path) -> None:
            arguments = (url, str(case.num_clients), str(case.megabytes), str(num_rounds), str(result))
            started.python("floor", "benchmarks.contenders.floor", *arguments)

        found, outcome = rounds_with_server(folder, ROLES, limit, num_rounds, start, tcp=self.tcp)
        if not found["right"]:
            raise DidNotCompleteError("the final model is wrong")
        return outcome


def carry_out(redis: Redis, case: Case, num_rounds: int) -> tuple[list[float], bool]:
    """Carry out rounds; return when the first began and each was over, and whether the model is the updates' mean."""
    model = np.zeros(NUM_ARRAYS * array_size(case.megabytes), np.float32)
    update = np.full_like(model, step(0))
    marks = [time.time()]
    for _ in range(num_rounds):
        _round(redis, model, update, case.num_clients)
        marks.append(time.time())
    # Ten thousand equal values summed in float32 are off by their third digit.
    return marks, bool(np.allclose(model, update, rtol=0.01))


def _round(redis: Redis, model: Values, update: Values, num_clients: int) -> None:
    """Put ``model`` into the server, and make it the mean of the updates, each of which goes there and back."""
    for name, chunk in _chunks(model, "model"):
        redis.set(name, chunk.data)
    model[:] = 0
    for _ in range(num_clients):
        for name, _chunk in _chunks(model, "model"):
            redis.get(name)
        for name, chunk in _chunks(update, "update"):
            redis.set(name, chunk.data)
        for name, chunk in _chunks(model, "update"):
            np.add(chunk, np.frombuffer(cast(bytes, redis.get(name)), np.float32), out=chunk)
    model /= num_clients


def _chunks(values: Values, name: str) -> Iterator[tuple[str, Values]]:
    """Yield the names of the chunks of ``values`` and views of them."""
    size = CHUNK_BYTES // values.itemsize
    for begin in range(0, len(values), size):
        yield f"{name}:{begin}", values[begin : begin + size]


def main() -> None:
    """Carry out rounds as the command line says, and write what came of them."""
    url, clients, megabytes, rounds, result = sys.argv[1:]
    with Redis.from_url(url.replace("redis+socket://", "unix://")) as redis:
        redis.ping()
        time.sleep(IDLE_S)
        marks, right = carry_out(redis, Case(int(clients), float(megabytes)), int(rounds))
    write_json(Path(result), {"marks": marks, "right": right})


if __name__ == "__main__":
    main()
