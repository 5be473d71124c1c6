"""A process of a worker's pool: it ends with its worker, and keeps the memory that it has freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_BYTES = 2**30


def start_pool_process() -> None:
    """Set this process up as one of a pool, when what all of the pool share has been imported."""
    die_with_parent()
    gc.freeze()  # what was imported stays; to look through it for garbage takes 30 ms, in the middle of a round
    keep_freed_memory()


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends; elsewhere than on Linux, do nothing."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os.kill(os.getpid(), signal.SIGKILL)


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
