"""Unit costs of a round on this machine: what a client and what a byte take of each process. Some seconds each.

CPU time is what the kernel says of a process (``utime + stime``), so that what else runs on the machine counts little.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from redis import Redis

from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import ROLES, Ours, num_lines
from benchmarks.contenders.programs import Programs, programs
from benchmarks.sampling import role_of
from benchmarks.server_costs import MOVED_BYTES, Speed, connection_bytes, cpu_s_of, server_speeds
from orchestrator.jobs.disproportion import AT_ONCE
from orchestrator.jobs.streaming_mean import StreamingMean
from tasks.arrays import spec_of, write_file
from tasks.cores import num_cores
from tasks.digests import Digest
from tests.integration.harness import history

SMALL, LARGE = Case(200, 0.4), Case(24, 20)
"""Two cases whose updates take turns, as in all rounds that are large: their difference is what a byte takes."""
CHECK = Case(80, 4)
"""What the costs come from knows nothing of this one: it is compared with what is calculated."""
FEW = Case(3, 0.4)
ROUNDS = 3
LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Run:
    """What a real run takes, a client and round: CPU seconds by role, and bytes into the broker and out of it."""

    cpu_s: Mapping[str, float]
    bytes_in: float
    bytes_out: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What one unit of work takes, measured. Seconds are of CPU time, of one core.

    Attributes:
        broker_in_s: The server's, a byte that it is sent (``SET``).
        broker_out_s: The server's, a byte that it sends (``GET``).
        broker_client_s: The server's, a client and round, for messages.
        loop_client_s: The loop process's, a client and round.
        worker_client_s: An own worker's, an update, whatever its size.
        worker_byte_s: An own worker's, a byte of an update: to fetch, check, write, and add it.
        adding_byte_s: To add an update to the running sum, a byte: of the above, what one process does at a time.
        digest_byte_s: Likewise its digest.
        disk_bytes_s: Bytes a second that the disk takes in for good.
        message_in_bytes: What the server is sent a client and round, without models.
        message_out_bytes: What it sends.
        connections: What a client with a worker of its own holds open to the server.
        connection_bytes: The server's memory, a connection.
        download_bytes: The server's memory, a client that fetches the model over a line that is slower than the server.
    """

    broker_in_s: float
    broker_out_s: float
    broker_client_s: float
    loop_client_s: float
    worker_client_s: float
    worker_byte_s: float
    adding_byte_s: float
    digest_byte_s: float
    disk_bytes_s: float
    message_in_bytes: float
    message_out_bytes: float
    connections: float
    connection_bytes: float
    download_bytes: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured.

    Attributes:
        speeds: ``in`` or ``out``, ``unix`` or ``tcp``, and connections at once, like ``in tcp 2``.
        check: Role -> CPU seconds a client and round of ``CHECK``.
        costs: What the calculations go by.
    """

    speeds: Mapping[str, Speed]
    check: Mapping[str, float]
    costs: Costs


def measure(say: Callable[[str], None]) -> Measured:
    """Measure everything; ``say`` is told what is done now."""
    runs: dict[Case, Run] = {}
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        say("the server's speed")
        speeds = server_speeds(folder)
        memory = connection_bytes(folder)
        say("adding, digest, disk")
        pure = {"adding_byte_s": adding(folder), "digest_byte_s": digest(), "disk_bytes_s": disk(folder)}
        for case in (SMALL, LARGE, CHECK):
            say(f"a run of {case} (clients x MB)")
            runs[case] = run_costs(case, folder / str(case))
        say("connections")
        connections = connections_of_a_client(folder / "connections")
    costs = Costs(
        **derived(speeds, runs[SMALL], runs[LARGE]),
        **pure,
        connections=connections,
        connection_bytes=memory[0],
        download_bytes=memory[1],
    )
    return Measured(speeds, runs[CHECK].cpu_s, costs)


def derived(speeds: Mapping[str, Speed], small: Run, large: Run) -> dict[str, float]:
    """Return those of the unit costs that runs of ``SMALL`` and ``LARGE`` show together; see :class:`Costs`.

    Their clients share a worker, each process of which fetches the model once a round.
    """
    size = SMALL.megabytes * 1e6
    worker_client_s, worker_byte_s = line_through(
        (size, small.cpu_s["worker"]), (LARGE.megabytes * 1e6, large.cpu_s["worker"])
    )
    broker_in_s, broker_out_s = speeds["in tcp 2"].cpu_s, speeds["out tcp 2"].cpu_s
    bytes_in = size * (1 + 1 / SMALL.num_clients)
    bytes_out = size * (1 + num_cores() / SMALL.num_clients)
    broker_client_s = small.cpu_s["broker"] - bytes_in * broker_in_s - bytes_out * broker_out_s
    return {
        "broker_in_s": broker_in_s,
        "broker_out_s": broker_out_s,
        "broker_client_s": max(0.0, broker_client_s),
        "loop_client_s": small.cpu_s["orchestrator"],
        "worker_client_s": max(0.0, worker_client_s),
        "worker_byte_s": worker_byte_s,
        "message_in_bytes": max(0.0, small.bytes_in - bytes_in),
        "message_out_bytes": max(0.0, small.bytes_out - bytes_out),
    }


def expected_cpu_s(costs: Costs, case: Case, num_processes: int) -> dict[str, float]:
    """Return what a run like :func:`run_costs` should take by the costs: CPU seconds by role, a client and round."""
    size, times = case.megabytes * 1e6, 1 + num_processes / case.num_clients
    return {
        "orchestrator": costs.loop_client_s,
        "broker": costs.broker_client_s
        + size * ((1 + 1 / case.num_clients) * costs.broker_in_s + times * costs.broker_out_s),
        "worker": costs.worker_client_s + size * costs.worker_byte_s,
    }


def line_through(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return where the line through two points meets zero, and its slope."""
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return first[1] - slope * first[0], slope


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
    running = StreamingMean(path, spec_of(updates[0]), file_of, discard=Path.unlink)
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


def run_costs(case: Case, folder: Path) -> Run:
    """Carry out a real run over TCP, and return what it takes.

    It is measured from the end of the first round to that of the last but one, so that neither start nor end count.

    Raises:
        DidNotCompleteError: If the run doesn't get so far.
        RuntimeError: If clients were missing.
    """
    folder.mkdir()
    run_dir = folder / "run"
    with programs(folder) as started, ExitStack() as connected:
        url = Ours(tcp=True, shared=True).start(started, case, ROUNDS + 2, run_dir)
        assert url is not None, "over TCP there is a broker"
        broker = connected.enter_context(Redis.from_url(url))
        before, after = (_costs_so_far(started, run_dir, number, broker) for number in (1, ROUNDS + 1))
        if any(len(record["responses"]) != case.num_clients for record in history(run_dir)):
            raise RuntimeError(f"a run of {case} lacked clients")
    responses = case.num_clients * ROUNDS
    cpu_s = {role: (seconds - before.cpu_s[role]) / responses for role, seconds in after.cpu_s.items()}
    return Run(cpu_s, (after.bytes_in - before.bytes_in) / responses, (after.bytes_out - before.bytes_out) / responses)


def _costs_so_far(started: Programs, run_dir: Path, round_number: int, broker: Redis) -> Run:
    """Return what all has taken up to the end of a round."""
    started.wait_until(lambda: num_lines(run_dir / "history.jsonl") >= round_number, Limit(LIMIT_S))
    said = broker.info("stats")
    cpu_s: dict[str, float] = defaultdict(float)
    for role, process in _processes():
        with suppress(psutil.Error):
            cpu_s[role] += cpu_s_of(process)
    return Run(cpu_s, said["total_net_input_bytes"], said["total_net_output_bytes"])


def connections_of_a_client(folder: Path) -> float:
    """Return how many connections a client that has a worker of its own holds open to the broker in a run."""
    folder.mkdir()
    run_dir, found = folder / "run", 0
    with programs(folder) as started:
        port = urlsplit(Ours(tcp=True).start(started, FEW, ROUNDS, run_dir)).port
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
