"""What is read of control groups: files as the kernel shows them, of both versions and in and out of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.cores import num_cores
from tasks.limits import cpu_limit, memory_limit_bytes

MB = 10**6


def machine(folder: Path, groups: str, **limits: str) -> Path:
    """Return a root whose process is in ``groups``; ``limits`` has each file's text by a path with ``__`` for ``/``."""
    files = {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in limits.items()}}
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("groups", "limits", "cpus", "memory_bytes"),
    [
        # A service of systemd's, whose slice has less memory than it
        (
            "0::/fl.slice/client.service",
            {
                "fl.slice__client.service__cpu.max": "150000 100000",
                "fl.slice__client.service__memory.max": str(900 * MB),
                "fl.slice__cpu.max": "max 100000",
                "fl.slice__memory.max": str(700 * MB),
            },
            1.5,
            700 * MB,
        ),
        # A container of version 2, which sees its own group at the top
        ("0::/", {"cpu.max": "50000 100000", "memory.max": str(700 * MB)}, 0.5, 700 * MB),
        # A container of version 1, whose path is the host's and is not to be seen
        (
            "4:memory:/docker/3f74\n2:cpu,cpuacct:/docker/3f74\n0::/docker/3f74",
            {
                "cpu__cpu.cfs_quota_us": "200000",
                "cpu__cpu.cfs_period_us": "100000",
                "memory__memory.limit_in_bytes": str(700 * MB),
            },
            2.0,
            700 * MB,
        ),
        # Groups of both versions without a limit
        (
            "1:cpu:/\n0::/user.slice",
            {
                "cpu__cpu.cfs_quota_us": "-1",
                "cpu__cpu.cfs_period_us": "100000",
                "unified__user.slice__memory.max": "max",
            },
            None,
            None,
        ),
    ],
)
def test_the_least_limit_of_a_process_s_groups_counts(
    tmp_path: Path, groups: str, limits: dict[str, str], cpus: float | None, memory_bytes: int | None
) -> None:
    # Given a process in groups, when it asks what they leave it, then that is the least of all
    root = machine(tmp_path, groups, **limits)
    assert (cpu_limit(root), memory_limit_bytes(root)) == (cpus, memory_bytes)


def test_a_system_without_control_groups_sets_no_limits(tmp_path: Path) -> None:
    # Given neither proc nor sys, when a process asks for limits, then there are none
    assert (cpu_limit(tmp_path), memory_limit_bytes(tmp_path)) == (None, None)


@pytest.mark.parametrize(("quota", "count"), [("50000", 1), ("100000", 1), ("100000000", num_cores())])
def test_half_a_core_counts_as_one_and_no_more_count_than_there_are(tmp_path: Path, quota: str, count: int) -> None:
    # Given a group with a limit, when a process asks how many processors it has, then whole ones, at most all
    assert num_cores(machine(tmp_path, "0::/", **{"cpu.max": f"{quota} 100000"})) == count
