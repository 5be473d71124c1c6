"""How numbers are written on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.metrics import digits

NOTHING = "–"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float | None) -> str:
    """Return seconds as they are read: ``8 ms``, ``0.35 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds is None:
        return NOTHING
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


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
