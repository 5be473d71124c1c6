"""What one server takes: bytes a second, CPU time a byte, and memory a connection."""

from __future__ import annotations

import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from redis import Redis

from benchmarks.contenders.programs import Programs, programs
from tasks.blobs.blob import CHUNK_BYTES
from tasks.blobs.chunks import Chunk, Wanted
from tasks.blobs.in_redis import RedisChunks
from tasks.blobs.pace import FIRST_BYTES
from tasks.broker.connection import connect

MOVED_BYTES = 256 * 10**6
NUM_CHUNKS = MOVED_BYTES // CHUNK_BYTES
REPEATS = 3
"""Figures are medians of so many."""
NUM_CONNECTIONS = 20
"""Connections that are opened, and then fetch and don't read, to see what a server keeps for one."""
_SETTLES_S = 0.5


@dataclass(frozen=True, slots=True)
class Speed:
    """Bytes a second of all connections together, and CPU seconds of the server a byte."""

    bytes_s: float
    cpu_s: float


def server_speeds(folder: Path) -> dict[str, Speed]:
    """Return how fast one server takes and gives chunks, over each kind of socket, by one connection and two."""
    found = {}
    for kind in ("unix", "tcp"):
        with programs(folder) as started:
            url, process = _server(started, tcp=kind == "tcp")
            _speed(url, process, "in", 2)  # so that memory isn't the kernel's any more, as in all rounds but the first
            for count in (1, 2):
                for direction in ("in", "out"):
                    speeds = [_speed(url, process, direction, count) for _ in range(REPEATS)]
                    found[f"{direction} {kind} {count}"] = Speed(
                        statistics.median(speed.bytes_s for speed in speeds),
                        statistics.median(speed.cpu_s for speed in speeds),
                    )
    return found


def _server(started: Programs, *, tcp: bool) -> tuple[str, psutil.Process]:
    url = started.server(tcp=tcp)
    with connect(url, retries=0) as client:
        return url, psutil.Process(client.info("server")["process_id"])


def _speed(url: str, process: psutil.Process, direction: str, count: int) -> Speed:
    """Move chunks in threads; while one waits for its socket the others go on."""
    data = memoryview(np.random.default_rng(0).bytes(CHUNK_BYTES))
    move = _put if direction == "in" else _get
    for index in range(count):
        _put(url, index, data)
    before, start = cpu_s_of(process), time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda index: move(url, index, data), range(count)))
    took, cpu_s = time.perf_counter() - start, cpu_s_of(process) - before
    moved = count * NUM_CHUNKS * CHUNK_BYTES
    return Speed(moved / took, cpu_s / moved)


def _put(url: str, blob: int, data: memoryview) -> None:
    with connect(url, retries=0) as client:
        RedisChunks(client).send(Chunk(f"{blob}:{index}", [data]) for index in range(NUM_CHUNKS))


def _get(url: str, blob: int, _data: memoryview) -> None:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with connect(url, retries=0) as client:
        for _ in RedisChunks(client).receive([Wanted(f"{blob}:{index}", buffer) for index in range(NUM_CHUNKS)]):
            pass


def cpu_s_of(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def connection_bytes(folder: Path) -> tuple[float, float]:
    """Return what a server keeps for a connection, and for one that fetches and doesn't read besides, in bytes."""
    with programs(folder) as started:
        url, _ = _server(started, tcp=True)
        with connect(url, retries=0) as client:
            port = int(url.rpartition(":")[2].partition("/")[0])
            client.set("chunk", bytes(CHUNK_BYTES))
            none = _used(client)
            connections = [_connection(port) for _ in range(NUM_CONNECTIONS)]
            some = _used(client)
            for each in connections:
                each.sendall(b"GETRANGE chunk 0 %d\r\n" % (FIRST_BYTES - 1))
            time.sleep(_SETTLES_S)
            fetching = _used(client)
            for each in connections:
                each.close()
    return (some - none) / NUM_CONNECTIONS, max(0.0, (fetching - some) / NUM_CONNECTIONS)


def _connection(port: int) -> socket.socket:
    """Return a connection that the server has answered on, and that takes little before it is read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    made.connect(("127.0.0.1", port))
    made.sendall(b"*1\r\n$4\r\nPING\r\n")
    made.recv(100)
    return made


def _used(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])
