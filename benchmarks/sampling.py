"""Memory and processor time of processes by role, sampled while they run, and what a broker does."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.contender import Outcome
from tasks.broker.connection import connect

INTERVAL_S = 0.05
SETTLES_S = 1.0
"""Seconds after which a process has the command line that it keeps."""
SERVER = ("orchestrator", "worker", "broker")
"""Roles that make up ``server``: what whoever runs a federation needs, whoever runs the clients."""

_SIZES = re.compile(r"^(RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)

Roles = Sequence[tuple[str, str]]
"""Part of a process's command line, and its role; the first that is in it counts."""


class Traffic(NamedTuple):
    """What a broker has done so far: bytes that it was sent, those that it has sent, and commands carried out."""

    bytes_in: int
    bytes_out: int
    commands: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was found at one instant.

    Attributes:
        at: When, by the wall clock.
        bytes_of: Role -> bytes of anonymous and shared memory.
        traffic: What the broker has done so far.
        cpu_s: Role -> processor seconds so far.
    """

    at: float
    bytes_of: Mapping[str, int]
    traffic: Traffic | None = None
    cpu_s: Mapping[str, float] = field(default_factory=dict)

    def with_sums(self) -> dict[str, int]:
        """Return the bytes by role, those of all server roles as ``server``, and of all processes as ``all``."""
        server = sum(self.bytes_of.get(role, 0) for role in SERVER)
        return {**self.bytes_of, "server": server, "all": sum(self.bytes_of.values())}


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's resident bytes: anonymous ones, and those in shared memory.

    A process that has ended has none.
    """

    anonymous: int
    shared: int

    @classmethod
    def parse(cls, status: str) -> Memory:
        """Read ``/proc/PID/status``."""
        found = {name: int(size) * 1024 for name, size in _SIZES.findall(status)}
        return cls(found.get("RssAnon", 0), found.get("RssShmem", 0))


def role_of(roles: Roles, command: str) -> str:
    """Return the role of a process by its command line."""
    return next((role for part, role in roles if part in command), "other")


def cpu_s_of(process: psutil.Process) -> float:
    """Return the processor seconds that a process has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and that still run (Linux)."""
    found, folder = [], f"/proc/{pid}/task"
    with suppress(OSError):
        for thread in os.listdir(folder):  # noqa: PTH208  # ten times as fast as pathlib, at twenty times a second
            with open(f"{folder}/{thread}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have, and so on."""
    found = children(pid)
    for child in found:  # which grows
        found += children(child)
    return found


@dataclass
class _Watched:
    """A process: its role, and its processor seconds so far."""

    process: psutil.Process
    since: float
    role: str = ""
    cpu_s: float = 0.0


class Sampler(threading.Thread):
    """Samples all that the children of this process have started; use as a context manager.

    The children themselves are guardians, which the benchmark needs and no contender.

    Args:
        roles: Say what a process is.
        url: Returns the URL of the broker whose traffic is noted, or None as long as there is none.
        shared: A file system in memory whose use counts, as a role of its own, in place of the processes' shared
            memory: what several of them have mapped would be counted as often.
    """

    def __init__(self, roles: Roles, url: Callable[[], str | None] = lambda: None, shared: Path | None = None) -> None:
        super().__init__(daemon=True)
        self._roles = roles
        self._url = url
        self._broker: Redis | None = None
        self._shared = shared
        self._over = threading.Event()
        self._watched: dict[int, _Watched] = {}
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Sample until the block ends."""
        while not self._over.wait(INTERVAL_S):
            self._look_around()
            self.samples.append(self._sample())

    def has_sampled_since(self, when: float) -> bool:
        """Say whether there is a sample of after ``when``, by the wall clock."""
        return bool(self.samples) and self.samples[-1].at > when

    def outcome(self, marks: Sequence[float], ended: float, num_rounds: int, ready: float = math.inf) -> Outcome:
        """Return what the samples show of rounds; see :func:`summarise`."""
        return summarise(self.samples, marks, ended, num_rounds, ready)

    def _look_around(self) -> None:
        for guardian in children(os.getpid()):
            for pid in descendants(guardian):
                if pid not in self._watched:
                    with suppress(psutil.Error):
                        self._watched[pid] = _Watched(psutil.Process(pid), time.monotonic())

    def _sample(self) -> Sample:
        sizes: Counter[str] = Counter()
        cpu_s: defaultdict[str, float] = defaultdict(float)
        for pid, watched in self._watched.items():
            try:
                memory = Memory.parse(Path(f"/proc/{pid}/status").read_text())
                # Between fork and exec a process has the command line of the one that has started it.
                if time.monotonic() - watched.since < SETTLES_S or not watched.role:
                    watched.role = role_of(self._roles, " ".join(watched.process.cmdline()))
                watched.cpu_s = cpu_s_of(watched.process)
            except (OSError, psutil.Error):
                continue
            sizes[watched.role] += memory.anonymous + (0 if self._shared else memory.shared)
        for watched in self._watched.values():  # those that have ended, too
            cpu_s[watched.role] += watched.cpu_s
        if self._shared:
            sizes["shared"] = psutil.disk_usage(str(self._shared)).used
        return Sample(time.time(), dict(sizes), self._traffic(), dict(cpu_s))

    def _traffic(self) -> Traffic | None:
        """Return what the broker has done so far, or None if it isn't there."""
        if self._broker is None:
            url = self._url()
            if url is None:
                return None
            self._broker = connect(url, retries=0)
        try:
            said = self._broker.info("stats")
        except (RedisError, OSError):
            return None
        return Traffic(said["total_net_input_bytes"], said["total_net_output_bytes"], said["total_commands_processed"])

    def __enter__(self) -> Sampler:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take no more samples."""
        self._over.set()
        self.join()
        if self._broker is not None:
            self._broker.close()


def summarise(
    samples: Sequence[Sample], marks: Sequence[float], ended: float, num_rounds: int, ready: float = math.inf
) -> Outcome:
    """Return what samples show of rounds. All times are by the wall clock.

    Args:
        samples: In the order of time.
        marks: When the first round began, and when each complete round was over and so the next could begin.
        ended: When there were no more rounds.
        num_rounds: Rounds until then, of which the last may have been incomplete.
        ready: When the server had done what it does before the first round: idle is looked for from then on, and
            without it just before that round.
    """
    outcome = Outcome(rounds_s=[round(after - before, 6) for before, after in pairwise(marks)])
    outcome = replace(outcome, **_work(samples, marks))
    idle = _idle(samples, marks[0], ready)
    during = [sample for sample in samples if marks[0] <= sample.at <= ended]
    if idle is None or not during:
        return outcome
    peaks: dict[str, int] = {}
    for sample in during:
        peaks |= {role: max(size, peaks.get(role, 0)) for role, size in sample.with_sums().items()}
    idle_bytes = idle.with_sums()
    outcome = replace(
        outcome,
        peak_mb={role: _mb(size) for role, size in peaks.items()},
        idle_mb={role: _mb(idle_bytes.get(role, 0)) for role in peaks},
    )
    after = next((sample for sample in samples if sample.at >= ended and sample.traffic), None)
    if after is None or after.traffic is None or idle.traffic is None:
        return outcome
    return replace(
        outcome,
        broker_in_mb=_mb((after.traffic.bytes_in - idle.traffic.bytes_in) / num_rounds),
        broker_out_mb=_mb((after.traffic.bytes_out - idle.traffic.bytes_out) / num_rounds),
    )


def _work(samples: Sequence[Sample], marks: Sequence[float]) -> dict[str, Any]:
    """Return the processor time by role, and the broker's commands, of a round but the first, on average.

    What had been done when a round was over is on the line between the samples before and after.
    """
    num_rounds = len(marks) - 2
    if not samples or num_rounds < 1:
        return {}

    def a_round(so_far: Sequence[tuple[float, float]]) -> float:
        times, values = zip(*so_far, strict=True)
        early, late = np.interp([marks[1], marks[-1]], times, values)
        return float(late - early) / num_rounds

    roles = samples[-1].cpu_s
    cpu_s = {role: a_round([(sample.at, sample.cpu_s.get(role, 0.0)) for sample in samples]) for role in roles}
    commands = [(sample.at, float(sample.traffic.commands)) for sample in samples if sample.traffic]
    return {
        "cpu_ms": {role: round(1000 * seconds, 3) for role, seconds in cpu_s.items()},
        "commands": round(a_round(commands), 1) if commands else None,
    }


def _idle(samples: Sequence[Sample], first: float, ready: float) -> Sample | None:
    """Return what was in use before the first round: the clients' last, and of each of the server's roles the least.

    A client is there the later the more of them there are. The server has made the first model, and what it took is
    freed; a moment before the round begins it puts the model into the broker.
    """
    before = [sample for sample in samples if sample.at < first]
    if not before:
        return None
    settled = [sample for sample in before if sample.at >= ready] or before[-1:]
    sizes = dict(before[-1].bytes_of)
    for role in sizes.keys() & set(SERVER):
        sizes[role] = min(sample.bytes_of.get(role, sizes[role]) for sample in settled)
    return Sample(settled[0].at, sizes, settled[0].traffic)


def _mb(size_bytes: float) -> float:
    return round(size_bytes / 1e6, 3)
