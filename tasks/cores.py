"""How many processors this process may use, and how long it has used them."""

from __future__ import annotations

import math
import os
import resource
import time
from pathlib import Path

from tasks.limits import ROOT, cpu_limit


def num_cores(root: Path = ROOT) -> int:
    """Return how many processors this process may use, 1 or more: a control group's limit is rounded up."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, max(1, math.ceil(cpu_limit(root) or there)))


def cpu_s() -> float:
    """Return the processor seconds that this process has used, all its threads and those of its children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
