"""A process of a worker's pool: it ends with its worker, lets users' code start processes, and keeps freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_BYTES = 2**30
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that a service manager, or a terminal, sends to all processes at once."""
_MAIN_PROCESS = multiprocessing.current_process()
"""What the standard library takes a worker's main process for, in which this module is imported."""


def start_pool_process() -> None:
    """Set this process up as one of a pool, when what all of the pool share has been imported."""
    die_with_parent()
    allow_children()
    gc.freeze()  # what was imported stays; to look through it for garbage takes 30 ms, in the middle of a round
    keep_freed_memory()


def leave_ending_to_parent() -> None:
    """Take no notice of signals to end; a program that is started from here has its own way with them."""
    for number in ENDING:
        signal.signal(number, lambda *_: None)  # SIG_IGN would be passed on to such a program


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends; elsewhere than on Linux, do nothing."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os.kill(os.getpid(), signal.SIGKILL)


def allow_children() -> None:
    """Let users' code start processes of its own, like those of torch's ``DataLoader``, which end with this one.

    Celery has Python take a pool process for a daemon, which may have no children. Here it counts as a main process. On
    Linux the kernel kills what its main thread has forked, and :func:`end_children_of` ends all others.
    """
    _MAIN_PROCESS.name = multiprocessing.current_process().name  # as logs have it
    multiprocessing.process._current_process = _MAIN_PROCESS  # type: ignore[attr-defined]
    if not sys.platform.startswith("linux"):
        return
    os.setpgrp()
    forking = threading.local()

    def before_fork() -> None:
        # What another thread has forked would be killed when that thread ends.
        forking.is_bound = threading.current_thread() is threading.main_thread()
        # The child is to end of a signal that it is sent before it has its own way with it.
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    def in_child() -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        if forking.is_bound:
            die_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    os.register_at_fork(before=before_fork, after_in_parent=in_parent, after_in_child=in_child)


def end_children_of(pid: int) -> None:
    """Ask what is left of a pool process that has ended, its children and theirs, to end; elsewhere than on Linux, not.

    It is a signal that may be ignored, as by what removes shared memory that nobody uses any more.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)


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
