"""The guardian by its protocol: a process that is told what to start, and tells what has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.processes import guardian
from tests.integration.harness import PATIENCE_S, wait_until

WAITING = "import signal; print('ready', flush=True); signal.pause()"
SAYING_WHEN_IT_ENDS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(sys.argv[1], file=open(sys.argv[2], "a"))))
print("ready", flush=True)
signal.pause()
"""
STAYING = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""
LEAVING_A_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WAITING!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""

pytestmark = pytest.mark.usefixtures("counted")


class Guarded:
    """A guardian, what it is told, and what it tells.

    Args:
        folder: Where the logs of what it starts go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.guardian = subprocess.Popen(
            [sys.executable, guardian.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.folder = Path(self.told()["folder"])

    def told(self) -> dict[str, Any]:
        """Wait for the next event."""
        assert self.guardian.stdout is not None
        event: dict[str, Any] = json.loads(self.guardian.stdout.readline())
        return event

    def start(self, name: str, code: str, *arguments: str, last: bool = False, grace_s: float = 60.0) -> None:
        """Have a process started that carries out some code."""
        order = {
            "start": name,
            "command": [sys.executable, "-c", code, *arguments],
            "environment": dict(os.environ),
            "log": str(self._folder / f"{name}.log"),
            "last": last,
            "grace_s": grace_s,
        }
        assert self.guardian.stdin is not None
        self.guardian.stdin.write((json.dumps(order) + "\n").encode())
        self.guardian.stdin.flush()

    def output(self, name: str) -> str:
        """What a process has said, once it has said something."""
        log = self._folder / f"{name}.log"
        said: str = wait_until(lambda: log.exists() and log.read_text(), f"{name} says something")
        return said

    def end(self) -> None:
        """End its standard input, as the orchestrator's end does, and wait until it has ended everything."""
        if self.guardian.returncode is None:
            self.guardian.communicate(timeout=PATIENCE_S)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    started = Guarded(tmp_path)
    yield started
    try:
        started.end()
    finally:
        started.guardian.kill()


def is_ready(guarded: Guarded, name: str) -> bool:
    """Whether a process has set itself up."""
    return guarded.output(name).endswith("ready\n")


def is_there(pid: int) -> bool:
    """Whether a process is there and hasn't ended."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return bool(status != psutil.STATUS_ZOMBIE)


def test_an_end_is_told_with_its_code_and_output_goes_to_the_log(guarded: Guarded, tmp_path: Path) -> None:
    # Given a log that a former process has written to
    (tmp_path / "one.log").write_text("before\n")
    # When a process says something on both of its outputs, and ends
    guarded.start("one", "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)")
    # Then its end is told, and what it said stands below
    assert guarded.told() == {"ended": "one", "code": 3}
    assert (tmp_path / "one.log").read_text() == "before\nout\nerr\n"


def test_a_process_that_is_killed_is_told_with_the_signal_and_leaves_no_child(guarded: Guarded) -> None:
    # Given a process that ends before its own child does
    guarded.start("one", LEAVING_A_CHILD)
    # When it has ended, then so has its child
    assert guarded.told() == {"ended": "one", "code": 0}
    child = int(guarded.output("one"))
    wait_until(lambda: not is_there(child), "the child is killed")


def test_all_end_with_their_orchestrator_those_that_others_use_after_them(guarded: Guarded, tmp_path: Path) -> None:
    # Given three processes that note their end, the first of which the others use
    ends = tmp_path / "ends"
    for name in ("server", "anna", "bert"):
        guarded.start(name, SAYING_WHEN_IT_ENDS, name, str(ends), last=name == "server")
        guarded.output(name)
    # When the orchestrator is gone
    guarded.end()
    # Then they were asked to end, that one last, and nothing is left
    assert sorted(ends.read_text().split()[:2]) == ["anna", "bert"]
    assert ends.read_text().split()[2:] == ["server"]
    assert guarded.guardian.returncode == 0
    assert not guarded.folder.exists()


def test_a_process_that_stays_is_killed_after_its_grace(guarded: Guarded) -> None:
    # Given two processes that don't heed a request to end, one of them without any grace
    pids = []
    for name, grace_s in (("patient", 0.2), ("hasty", 0.0)):
        guarded.start(name, f"import os; print(os.getpid(), flush=True){STAYING}", grace_s=grace_s)
        wait_until(partial(is_ready, guarded, name), f"{name} is ready")
        pids.append(int(guarded.output(name).split()[0]))
    # When the orchestrator is gone, then both are killed, the latter without having been asked
    guarded.end()
    assert [pid for pid in pids if is_there(pid)] == []
    assert guarded.output("hasty") == f"{pids[1]}\nready\n"


def test_a_signal_to_all_leaves_the_guardian_at_work(guarded: Guarded) -> None:
    # Given the signals that a terminal or an operator sends to a whole group, when the guardian gets them
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guarded.guardian.send_signal(number)
    # Then it still starts processes, and tells of their ends
    guarded.start("one", "pass")
    assert guarded.told() == {"ended": "one", "code": 0}


def test_what_a_killed_guardian_has_started_is_killed_with_it(guarded: Guarded) -> None:
    # Given a process
    guarded.start("one", f"import os; print(os.getpid(), flush=True); {WAITING}")
    pid = int(guarded.output("one").split()[0])
    # When the guardian itself is killed, then the kernel kills the process
    guarded.guardian.kill()
    wait_until(lambda: not is_there(pid), "the process is killed")
