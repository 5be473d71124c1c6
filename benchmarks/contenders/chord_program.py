"""The tasks of :mod:`benchmarks.contenders.chord`, which do nothing, and the program that sends its chords.

With this project's settings for Celery, and Celery's own result backend.
Run as ``python -m benchmarks.contenders.chord_program CLIENTS ROUNDS RESULT``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from celery import chain, chord

from benchmarks.contenders.programs import IDLE_S, write_json
from tasks.broker.app import make_app
from tasks.broker.connection import named_broker
from tasks.scope import client_queue

ROUND_TIMEOUT_S = 60.0

app = make_app("chord", named_broker(), include=())
app.conf.update(result_backend=named_broker())


@app.task(name="train")
def train(index: int) -> int:
    """Hand on what came."""
    return index


@app.task(name="ingest")
def ingest(index: int) -> int:
    """Hand on what came."""
    return index


@app.task(name="close")
def close(indices: list[int]) -> int:
    """Return how many there are."""
    return len(indices)


def send(num_clients: int) -> int:
    """Send a chord and return what its body returned."""
    parts = [
        chain(train.s(index).set(queue=client_queue(str(index))), ingest.s().set(queue="server"))
        for index in range(num_clients)
    ]
    counted: int = chord(parts)(close.s().set(queue="server")).get(timeout=ROUND_TIMEOUT_S)
    return counted


def main() -> None:
    """Carry out rounds as the command line says, and write what came of them."""
    num_clients, num_rounds, result = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    send(num_clients)  # when this is back all workers are there
    time.sleep(IDLE_S)
    marks, counted = [time.time()], []
    for _ in range(num_rounds):
        counted.append(send(num_clients))
        marks.append(time.time())
    write_json(result, {"marks": marks, "counted": counted})


if __name__ == "__main__":
    main()
