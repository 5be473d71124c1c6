"""What a run occupies while it goes on: keys in Redis by kind, memory, open files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psutil
from redis import Redis

MAX_GROWTH_BYTES = 4 * 2**20
"""Memory that may be added between the first measurement and the last.

What the orchestrator keeps by intent came to 1.2 MB in 500 rounds: the orders whose late answers it looks out for and
their channels, no more than a thousand. An allocator's ups and downs are one to three megabytes more. To keep the
records of all rounds alone came to 4.6 MB.
"""
MAX_GROWTH_FILES = 8
"""Open files that may be added: connections of pools, which are opened when two are needed at once."""

_OF_CLIENTS = ("fl:client:", "fl:away:", "client.")
"""What keys begin with of which there may be one for each client, and one for the orchestrator."""
_KINDS = (*_OF_CLIENTS, "fl:blob:", "celery-task-meta-", "celery-taskset-meta-")


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a run occupies at one moment.

    Attributes:
        num_closed: Rounds that were closed.
        keys: What keys begin with -> how many there are, without those of the round that is open.
        stale: Names of the keys of rounds that are over.
        rss_bytes: Resident memory of the orchestrator.
        workers_rss_bytes: Resident memory of the processes that it started, together.
        num_files: Files that the orchestrator has open, sockets and pipes included.
        redis_bytes: Memory that the server uses.
    """

    num_closed: int
    keys: Counter[str]
    stale: frozenset[str]
    rss_bytes: int
    workers_rss_bytes: int
    num_files: int
    redis_bytes: int


def measure(broker: Redis, orchestrator: psutil.Process, run_id: str, num_closed: int) -> Footprint:
    """Measure what a run occupies, ``num_closed`` rounds of which were closed a moment ago."""
    keys: Counter[str] = Counter()
    stale = set()
    for raw in broker.scan_iter(count=1000):
        name = raw.decode(errors="replace")
        round_number = _round_of(name, run_id)
        if round_number is not None and round_number >= num_closed:
            continue
        keys[_kind(name)] += 1
        if round_number is not None:
            stale.add(name)
    return Footprint(
        num_closed=num_closed,
        keys=keys,
        stale=frozenset(stale),
        rss_bytes=orchestrator.memory_info().rss,
        workers_rss_bytes=sum(process.memory_info().rss for process in orchestrator.children(recursive=True)),
        num_files=orchestrator.num_fds(),
        redis_bytes=broker.info("memory")["used_memory"],
    )


def settled(footprints: Sequence[Footprint]) -> Footprint:
    """Return the last of several footprints, with those keys alone that were there in all of them.

    An answer or a queue that is there for a moment is no leak.
    """
    last = footprints[-1]
    keys = last.keys
    for footprint in footprints:
        keys &= footprint.keys
    return replace(
        last,
        keys=keys,
        stale=frozenset.intersection(*(footprint.stale for footprint in footprints)),
        num_files=min(footprint.num_files for footprint in footprints),
    )


def growth(first: Footprint, last: Footprint, num_clients: int) -> list[str]:
    """Return in words what has grown that should not have; ``num_clients`` is how many client ids there are."""
    problems = []
    for kind, count in sorted(last.keys.items()):
        allowed = max(first.keys[kind], num_clients + 1 if kind in _OF_CLIENTS else 0)
        if count > allowed:
            problems.append(f"keys in Redis, {kind}: {count} after round {last.num_closed}, {allowed} are allowed")
    for what, before, after in (
        ("the orchestrator", first.rss_bytes, last.rss_bytes),
        ("its own workers", first.workers_rss_bytes, last.workers_rss_bytes),
    ):
        if after - before > MAX_GROWTH_BYTES:
            problems.append(f"memory of {what}: {_mb(before)} MB after round {first.num_closed}, then {_mb(after)} MB")
    if last.num_files - first.num_files > MAX_GROWTH_FILES:
        problems.append(f"open files: {first.num_files} after round {first.num_closed}, then {last.num_files}")
    return problems


def describe(footprint: Footprint) -> str:
    """Return a footprint in words."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(footprint.keys.items()))
    return (
        f"after round {footprint.num_closed}: {footprint.keys.total()} keys ({kinds}), "
        f"{_mb(footprint.rss_bytes)} MB (own workers {_mb(footprint.workers_rss_bytes)} MB), "
        f"{footprint.num_files} open files, Redis {_mb(footprint.redis_bytes)} MB"
    )


def _round_of(name: str, run_id: str) -> int | None:
    """Return the round that a key belongs to, or None for one that belongs to none."""
    found = re.search(rf"{re.escape(run_id)}/(\d+)", name)
    return int(found.group(1)) if found else None


def _kind(name: str) -> str:
    return next((prefix for prefix in _KINDS if name.startswith(prefix)), name)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f}"
