from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, re, sys
import numpy as np
from pathlib import Path
from tasks.pool_process import give_back_freed_memory, keep_freed_memory

def resident_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

keep_freed_memory()
before = resident_mb()
values = [np.ones(5_000_000, np.float32) for _ in range(5)]
held = resident_mb() - before
del values
kept = resident_mb() - before
give_back_freed_memory()
print(held, kept, resident_mb() - before)
"""


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    # Given a process that was told to keep memory, and that has had 100 MB
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    held, kept, given_back = map(float, done.stdout.split())
    # Then it has it still when it is freed, until it gives it back
    assert held > 90
    assert kept > 90
    assert given_back < 10


FORKING = """
import os, signal, sys, time
from tasks.pool_process import allow_children, leave_ending_to_parent

allow_children()
leave_ending_to_parent()
before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
for number in (signal.SIGTERM, signal.SIGHUP) * 10:
    if (pid := os.fork()) == 0:
        time.sleep(5)
        os._exit(0)
    os.kill(pid, number)
    if (code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) != -number:
        sys.exit(f"told to end by {number.name}, it ended with code {code}")
if (after := signal.pthread_sigmask(signal.SIG_BLOCK, ())) != before:
    sys.exit(f"the process that forks has {after} blocked, had {before}")
"""


def test_a_child_that_is_told_to_end_as_it_is_forked_ends() -> None:
    # Given a process of a pool, when it forks others and tells them to end at once, as a pool of Python's does
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=False)
    # Then they do, and it has its own signals as before
    assert (done.returncode, done.stderr) == (0, "")
