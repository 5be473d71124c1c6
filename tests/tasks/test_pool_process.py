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
