"""What the C library does with memory that was freed: keep it for the next step, or give it back to the system."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_SMALL_BYTES = 2**20
_MOST_BYTES = 2**30


def keep_freed_memory() -> None:
    """Keep freed memory, which training asks for again at each step: to get it anew means to have it cleared anew.

    A process then keeps what it once needed at most. It's of effect with glibc alone.
    """
    _set(_M_MMAP_THRESHOLD, _MOST_BYTES)
    _set(_M_TRIM_THRESHOLD, _MOST_BYTES)


def give_back_freed_memory() -> None:
    """Give arrays' memory back to the system when it is freed, so that a process that waits holds none."""
    _set(_M_MMAP_THRESHOLD, _SMALL_BYTES)


def _set(parameter: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(parameter, value)
