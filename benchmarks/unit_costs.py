"""What one unit of work takes on this machine, beside runs: of a server, a sum, a digest, a disk. Some seconds each.

CPU time is what the kernel says of a process (``utime + stime``), so that what else runs on the machine counts little.
"""

from __future__ import annotations

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from redis import Redis

from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import ROLES, Ours, num_lines
from benchmarks.contenders.programs import Programs, programs
from benchmarks.sampling import cpu_s_of, role_of
from orchestrator.jobs.disproportion import AT_ONCE
from orchestrator.jobs.streaming_mean import StreamingMean
from tasks.arrays import spec_of, write_file
from tasks.blobs.blob import CHUNK_BYTES
from tasks.blobs.chunks import Chunk, Wanted
from tasks.blobs.in_files import FileBlobs
from tasks.blobs.in_redis import RedisChunks
from tasks.blobs.pace import FIRST_BYTES
from tasks.broker.connection import connect
from tasks.digests import Digest

MOVED_BYTES = 256 * 10**6
NUM_CHUNKS = MOVED_BYTES // CHUNK_BYTES
REPEATS = 3
"""Figures are medians of so many."""
NUM_CONNECTIONS = 20
"""Connections that are opened, and then fetch and don't read, to see what a server keeps for one."""
FEW = Case(3, 0.4)
"""A run whose clients' connections are counted."""
LIMIT_S = 240.0
_SETTLES_S = 0.5


@dataclass(frozen=True, slots=True)
class Speed:
    """Bytes a second of all connections together, and CPU seconds of the server a byte."""

    bytes_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Units:
    """What was measured.

    Attributes:
        speeds: ``in`` or ``out``, ``unix`` or ``tcp``, and connections at once, like ``in tcp 2``.
        adding_byte_s: CPU seconds to add an update to the running sum, a byte.
        digest_byte_s: Likewise its digest.
        disk_bytes_s: Bytes a second that the disk takes in for good.
        connections: What a client with a worker of its own holds open to the server.
        connection_bytes: The server's memory, a connection.
        download_bytes: The server's memory, a client that fetches the model over a line that is slower than the server.
    """

    speeds: Mapping[str, Speed]
    adding_byte_s: float
    digest_byte_s: float
    disk_bytes_s: float
    connections: float
    connection_bytes: float
    download_bytes: float


def measure(say: Callable[[str], None]) -> Units:
    """Measure everything; ``say`` is told what is done now."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        say("the server's speed")
        speeds, memory = server_speeds(folder), connection_bytes(folder)
        say("adding, digest, disk, connections")
        return Units(speeds, adding(folder), digest(), disk(folder), connections_of_a_client(folder), *memory)


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


def adding(folder: Path) -> float:
    """Return the CPU seconds that adding an update to the running sum takes, a byte."""
    draw = np.random.default_rng(0)
    updates = [{"weights": draw.standard_normal(2_500_000, np.float32)} for _ in range(2 * AT_ONCE)]
    order = [f"{index:02}" for index in range(len(updates))]
    path = folder / "adding"
    path.mkdir()

    def file_of(client_id: str) -> Path:
        return path / f"{client_id}.safetensors"

    for client_id, update in zip(order, updates, strict=True):
        write_file(file_of(client_id), update)
    store = FileBlobs(path)
    running = StreamingMean(path, spec_of(updates[0]), file_of, lambda added: store.recycle(map(file_of, added)))
    running.add(order[:AT_ONCE], lambda _: 1.0, all_of_them=True)
    before = time.process_time()
    running.add(order, lambda _: 1.0, all_of_them=True)
    return (time.process_time() - before) / (AT_ONCE * updates[0]["weights"].nbytes)


def digest() -> float:
    """Return the CPU seconds of a digest, a byte; the median of five."""
    data, found = np.random.default_rng(0).bytes(MOVED_BYTES), []
    for _ in range(5):
        before = time.process_time()
        Digest(data).hexdigest()
        found.append((time.process_time() - before) / MOVED_BYTES)
    return statistics.median(found)


def disk(folder: Path) -> float:
    """Return the bytes a second that the disk takes in for good: a file is written and synced; the median of three."""
    data, path, found = np.random.default_rng(0).bytes(MOVED_BYTES), folder / "written", []
    for _ in range(3):
        start = time.perf_counter()
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        found.append(MOVED_BYTES / (time.perf_counter() - start))
        path.unlink()
    return statistics.median(found)


def connections_of_a_client(folder: Path) -> float:
    """Return how many connections a client that has a worker of its own holds open to the broker in a run."""
    run_dir, found = folder / "run", 0
    with programs(folder) as started:
        port = urlsplit(Ours(tcp=True).start(started, FEW, 3, run_dir)).port
        started.wait_until(lambda: num_lines(run_dir / "history.jsonl") >= 1, Limit(LIMIT_S))
        for role, process in _processes():
            with suppress(psutil.Error):
                remote = [each.raddr for each in process.net_connections("tcp") if each.raddr and role == "clients"]
                found += sum(address.port == port for address in remote)
    return found / FEW.num_clients


def _processes() -> Iterator[tuple[str, psutil.Process]]:
    """Yield all processes that this one has started, and that these have, and so on, with their roles."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            yield role_of(ROLES, " ".join(process.cmdline())), process
