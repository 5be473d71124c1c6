"""How numbers are written on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.observers.durations import NOTHING, duration
from tasks.metrics import digits


def size(num_bytes: float) -> str:
    """Return bytes as they are read, like ``38.7 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def instant(seconds: float) -> str:
    """Return a time, in seconds since 1970, as date and time in UTC; a dash if it isn't known."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else NOTHING


FILTERS = {"duration": duration, "size": size, "instant": instant, "digits": digits}
"""What templates write numbers by."""
