"""What the control groups of this process leave it of the machine, as containers and service managers set them.

The limits of all groups from the process's own up to the highest that can be seen count. Where a container sees its own
group alone, at the top, the path that the kernel tells leads nowhere, and that top is read.
See https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``, ``memory.max``) and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/")
"""The folder that has ``proc`` and ``sys``."""


def cpu_limit(root: Path = ROOT) -> float | None:
    """Return how many processors' time this process may use, which needn't be a whole number; None without a limit."""
    return min(_cpu_limits(root), default=None)


def memory_limit_bytes(root: Path = ROOT) -> int | None:
    """Return how much memory this process and the others of its groups may use together; None without a limit."""
    files = ("memory.max", "memory.limit_in_bytes")
    limits = (_numbers(group / name) for group in _groups(root, "memory") for name in files)
    return min((numbers[0] for numbers in limits if numbers), default=None)


def _cpu_limits(root: Path) -> Iterator[float]:
    for group in _groups(root, "cpu"):
        of_v1 = [*_numbers(group / "cpu.cfs_quota_us"), *_numbers(group / "cpu.cfs_period_us")]
        for numbers in (_numbers(group / "cpu.max"), of_v1):
            if len(numbers) == 2 and min(numbers) > 0:  # the time of each period
                yield numbers[0] / numbers[1]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups, of either version, and of those above them."""
    mounts = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                places = [mounts, mounts / "unified"]
            else:
                places = [mounts / controller] if controller in controllers.split(",") else []
            inner = PurePosixPath(path.lstrip("/"))
            for place in places:
                yield from (place / folder for folder in (inner, *inner.parents))


def _numbers(file: Path) -> list[int]:
    """Return the whole numbers in a file; none if it isn't there, or says ``max``."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
