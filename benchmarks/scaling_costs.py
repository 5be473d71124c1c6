"""Unit costs of a round on this machine: what a client and what a byte take of each process. Some seconds each.

CPU time is what the kernel says of a process (``utime + stime``), so that what else runs on the machine counts little.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil  # type: ignore[import-untyped]  # it has no types

from benchmarks.capacity import Costs
from benchmarks.contender import Case, Limit
from benchmarks.contenders.ours import Ours, history, num_lines, role_of
from benchmarks.contenders.programs import programs
from benchmarks.sampling import Traffic, descendants
from benchmarks.server_costs import MOVED_BYTES, Speed, connection_bytes, cpu_s_of, server_speeds
from orchestrator.running_sum import AT_ONCE, RunningSum
from tasks.arrays import spec_of, write_file
from tasks.cores import num_cores
from tasks.digests import Digest

SMALL, LARGE = Case(200, 0.4), Case(24, 20)
"""Two cases whose updates take turns, as in all rounds that are large: their difference is what a byte takes."""
CHECK = Case(80, 4)
"""What the costs come from knows nothing of this one: it is compared with what is calculated."""
FEW = Case(3, 0.4)
ROUNDS = 3
LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured.

    Attributes:
        speeds: ``in`` or ``out``, ``unix`` or ``tcp``, and connections at once, like ``in tcp 2``.
        cpu_s: Case -> role -> CPU seconds a client and round.
        traffic: Case -> bytes that the broker was sent, and sent, a client and round.
        digest_s: CPU seconds a byte.
        costs: What the calculations go by.
    """

    speeds: Mapping[str, Speed]
    cpu_s: Mapping[str, Mapping[str, float]]
    traffic: Mapping[str, tuple[float, float]]
    digest_s: float
    costs: Costs


def measure(say: Callable[[str], None]) -> Measured:
    """Measure everything; ``say`` is told what is done now."""
    cpu_s, traffic = {}, {}
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        say("the server's speed")
        speeds = server_speeds(folder)
        memory = connection_bytes(folder)
        say("adding, digest, disk")
        pure = adding(folder), digest(), disk(folder)
        for case in (SMALL, LARGE, CHECK):
            say(f"a run of {case} (clients x MB)")
            path = folder / str(case)
            path.mkdir()
            cpu_s[str(case)], traffic[str(case)] = run_costs(case, path)
        say("connections")
        connections = connections_of_a_client(folder)
    costs = Costs(
        **derived(speeds, cpu_s, traffic),
        adding_byte_s=pure[0],
        disk_bytes_s=pure[2],
        connections=connections,
        connection_bytes=memory[0],
        download_bytes=memory[1],
    )
    return Measured(speeds, cpu_s, traffic, pure[1], costs)


def derived(
    speeds: Mapping[str, Speed], cpu_s: Mapping[str, Mapping[str, float]], traffic: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Return those of the unit costs that two runs show together; see :class:`Measured` and ``Costs``.

    Their clients share a worker, each process of which fetches the model once a round.
    """
    small, large = SMALL.megabytes * 1e6, LARGE.megabytes * 1e6
    worker_client_s, worker_byte_s = line_through(
        (small, cpu_s[str(SMALL)]["worker"]), (large, cpu_s[str(LARGE)]["worker"])
    )
    broker_in_s, broker_out_s = speeds["in tcp 2"].cpu_s, speeds["out tcp 2"].cpu_s
    bytes_in = small * (1 + 1 / SMALL.num_clients)
    bytes_out = small * (1 + num_cores() / SMALL.num_clients)
    message_in, message_out = traffic[str(SMALL)]
    broker_client_s = cpu_s[str(SMALL)]["broker"] - bytes_in * broker_in_s - bytes_out * broker_out_s
    return {
        "broker_in_s": broker_in_s,
        "broker_out_s": broker_out_s,
        "broker_client_s": max(0.0, broker_client_s),
        "loop_client_s": cpu_s[str(SMALL)]["orchestrator"],
        "worker_client_s": max(0.0, worker_client_s),
        "worker_byte_s": worker_byte_s,
        "message_in_bytes": max(0.0, message_in - bytes_in),
        "message_out_bytes": max(0.0, message_out - bytes_out),
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
    running = RunningSum(path, spec_of(updates[0]), file_of)
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


def run_costs(case: Case, folder: Path) -> tuple[dict[str, float], tuple[float, float]]:
    """Return what a real run over TCP takes: CPU seconds by role, and bytes in and out of the broker, each a client.

    It is measured from the end of the first round to that of the last but one, so that neither start nor end count.

    Raises:
        DidNotCompleteError: If the run doesn't get so far.
        RuntimeError: If clients were missing.
    """
    run_dir, limit = folder / "run", Limit(LIMIT_S)
    with programs(folder) as started:
        url = Ours(tcp=True, shared=True).start(started, case, ROUNDS + 2, run_dir)
        traffic = Traffic(lambda: url)

        def at(round_number: int) -> tuple[dict[str, float], tuple[int, int]]:
            started.wait_until(lambda: num_lines(run_dir / "history.jsonl") >= round_number, limit)
            said = traffic.read()
            if said is None:
                raise RuntimeError(f"the broker at {url} doesn't answer")
            return _cpu_by_role(), said

        try:
            before, after = at(1), at(ROUNDS + 1)
        finally:
            traffic.close()
        if any(len(record["answers"]) != case.num_clients for record in history(run_dir)):
            raise RuntimeError(f"a run of {case} lacked clients")
    answers = case.num_clients * ROUNDS
    cpu_s = {role: (seconds - before[0][role]) / answers for role, seconds in after[0].items()}
    bytes_in, bytes_out = ((late - early) / answers for early, late in zip(before[1], after[1], strict=True))
    return cpu_s, (bytes_in, bytes_out)


def connections_of_a_client(folder: Path) -> float:
    """Return how many connections a client that has a worker of its own holds open to the broker in a run."""
    case, path = FEW, folder / "connections"
    path.mkdir()
    run_dir = path / "run"
    with programs(path) as started:
        url = Ours(tcp=True).start(started, case, ROUNDS, run_dir)
        started.wait_until(lambda: num_lines(run_dir / "history.jsonl") >= 1, Limit(LIMIT_S))
        port = urlsplit(url).port
        found = 0
        for process in _processes("clients"):
            with suppress(psutil.Error):
                found += sum(bool(each.raddr) and each.raddr.port == port for each in process.net_connections("tcp"))
    return found / case.num_clients


def _processes(role: str) -> list[psutil.Process]:
    """Return those of the processes that this one has started, and so on, that have a role."""
    found = []
    for pid in descendants(os.getpid()):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if role_of(" ".join(process.cmdline())) == role:
                found.append(process)
    return found


def _cpu_by_role() -> dict[str, float]:
    """Return the CPU seconds of all that this process has started, by role."""
    found: dict[str, float] = defaultdict(float)
    for pid in descendants(os.getpid()):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found[role_of(" ".join(process.cmdline()))] += cpu_s_of(process)
    return found
