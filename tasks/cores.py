"""How many processors this process may use."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Return how many processors this process may use, 1 or more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
