from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.contenders.ours import ROLES
from benchmarks.sampling import Memory, Sample, Traffic, descendants, role_of, summarise

STATUS = """\
Name:\tpython
VmPeak:\t  301000 kB
VmHWM:\t  120000 kB
VmRSS:\t  110000 kB
RssAnon:\t   70000 kB
RssFile:\t   38000 kB
RssShmem:\t    2000 kB
Threads:\t3
"""
MB = 10**6


def sample(at: float, traffic: tuple[int, int] | None = None, **megabytes: int) -> Sample:
    return Sample(at, {role: size * MB for role, size in megabytes.items()}, Traffic(*traffic) if traffic else None)


def test_memory_is_read_from_a_process_s_status() -> None:
    # Given what the kernel says of a process, when it is read, then sizes are in bytes, and files' pages apart
    assert Memory.parse(STATUS) == Memory(70_000 * 1024, 2_000 * 1024)


def test_a_process_that_has_ended_has_no_memory() -> None:
    # Given what the kernel says of one that nobody has waited for, when it is read, then it is none
    assert Memory.parse("Name:\tpython\nState:\tZ (zombie)\nThreads:\t1\n") == Memory(0, 0)


def test_descendants_are_found_however_deep() -> None:
    # Given a process that has started another
    inner = "import sys; print('ready', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        # When this one's descendants are looked for
        found = descendants(os.getpid())
        # Then both are among them, and the inner is the outer's only one
        assert process.pid in found
        assert len(descendants(process.pid)) == 1
        assert set(descendants(process.pid)) < set(found)
        process.communicate()


def test_rounds_are_from_mark_to_mark() -> None:
    # Given marks and no samples, when they are summarised, then there are times alone
    outcome = summarise([], [10.0, 12.5, 13.0], 13.0, num_rounds=2)
    assert outcome.rounds_s == [2.5, 0.5]
    assert outcome.above_idle_mb("server") is None
    assert outcome.median_s() == 0.5


def test_peaks_are_while_the_rounds_are_on_and_the_server_s_roles_at_one_instant() -> None:
    # Given samples: before, while and after there are rounds
    samples = [
        sample(8.0, orchestrator=1, worker=1, broker=1, clients=1),
        sample(9.5, orchestrator=10, worker=50, broker=2, clients=40),  # the worker has just made the first model
        sample(9.9, orchestrator=10, worker=20, broker=42, clients=50),  # the model is in the broker
        sample(10.5, orchestrator=10, worker=60, broker=82, clients=90),
        sample(11.5, orchestrator=30, worker=20, broker=122, clients=60),
        sample(13.5, orchestrator=99, worker=99, broker=999, clients=99),
    ]
    # When they are summarised, the server having been ready at 9
    outcome = summarise(samples, [10.0, 11.0, 12.0], 13.0, num_rounds=3, ready=9.0)
    # Then idle is the least of each of the server's roles since then, and the clients' last
    assert outcome.idle_mb == {"orchestrator": 10, "worker": 20, "broker": 2, "clients": 50, "server": 32, "all": 82}
    # And each role's peak is its own, but the server's is of its roles together (172, not 30 + 60 + 122)
    assert outcome.peak_mb == {
        "orchestrator": 30, "worker": 60, "broker": 122, "clients": 90, "server": 172, "all": 242,
    }  # fmt: skip
    assert outcome.above_idle_mb("server") == 140


def test_without_a_time_when_the_server_was_ready_idle_is_just_before_the_first_round() -> None:
    # Given samples of a server one of whose processes isn't there yet in the first
    samples = [sample(9.5, broker=2), sample(9.8, broker=3, worker=30), sample(10.5, broker=5, worker=31)]
    # When they are summarised
    outcome = summarise(samples, [10.0, 11.0], 11.0, num_rounds=1)
    # Then the process isn't taken for what the rounds need
    assert outcome.above_idle_mb("server") == 3


def test_traffic_is_from_idle_to_the_end_and_a_round_s_share_of_it() -> None:
    # Given counts of bytes in and out before, while and after there were four rounds
    samples = [
        sample(9.9, (1 * MB, 2 * MB), broker=1),
        sample(10.5, (3 * MB, 5 * MB), broker=1),
        sample(13.1, (9 * MB, 14 * MB), broker=1),
        sample(13.2, (99 * MB, 99 * MB), broker=1),
    ]
    # When they are summarised, the last round being incomplete
    outcome = summarise(samples, [10.0, 11.0, 12.0, 12.5], 13.0, num_rounds=4)
    # Then each of the four has a quarter of what came by the first count after the end
    assert (outcome.broker_in_mb, outcome.broker_out_mb) == pytest.approx((2.0, 3.0))


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("/usr/bin/python -m orchestrator.start --clients 2", "orchestrator"),
        ("/usr/bin/python -S /site/orchestrator/processes/guardian.py", "orchestrator"),
        ("/site/valkey-server unixsocket:/tmp/a/valkey.sock", "broker"),
        ("/usr/bin/python -P worker_program.py --app orchestrator --hostname orchestrator@%h", "worker"),
        ("/usr/bin/python -P worker_program.py --app worker --hostname client-1@%h", "clients"),
        ("sleep 1", "other"),
    ],
)
def test_roles_are_told_by_the_command_line(command: str, role: str) -> None:
    # Given a process's command line, when its role is asked for, then it is what it does
    assert role_of(ROLES, command) == role


def test_work_is_that_of_all_rounds_but_the_first_between_the_samples_around_them() -> None:
    # Given what processes and the broker had done by each second, and rounds that were over between these
    samples = [
        Sample(float(at), {}, Traffic(0, 0, 10 * at), {"worker": 0.1 * at, "clients": 0.2 * max(0, at - 8)})
        for at in range(11)
    ]
    # When the work of the second and the third of three rounds is asked for, 2 s each
    outcome = summarise(samples, [1.5, 4.5, 6.5, 8.5], 8.5, num_rounds=3)
    # Then it is what was done in four seconds, in two rounds
    assert outcome.cpu_ms == {"worker": 200.0, "clients": 50.0}
    assert outcome.commands == 20.0
