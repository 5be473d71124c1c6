"""How many processors this process may use, and how long it has used them."""

from __future__ import annotations

import os
import resource
import time


def num_cores() -> int:
    """Return how many processors this process may use, 1 or more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_s() -> float:
    """Return the processor seconds that this process has used, all its threads and those of its children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
