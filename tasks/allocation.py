"""What the C library does with memory that was freed: keep it for the next step, or give it back to the system."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_BYTES = 2**30


def keep_freed_memory() -> None:
    """Keep freed memory for what is asked for next; memory from the system is to be cleared first.

    A convolutional net is evaluated in 60 % of the time so. The process keeps what it once needed at most, unless it is
    told to :func:`give_back_freed_memory`. Both are of effect with glibc alone.
    """
    with _another_library():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MOST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MOST_BYTES)


def give_back_freed_memory() -> None:
    """Give the system back what is free now."""
    with _another_library():
        ctypes.CDLL(None).malloc_trim(0)


def _another_library() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(OSError, AttributeError)
