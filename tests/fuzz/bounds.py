"""What reading may come to, whatever is read: a value, or an error of the project's own, in little memory and time."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from hypothesis import settings

from tasks.errors import FederationError

T = TypeVar("T")
SOME = settings(max_examples=settings().max_examples // 4)
"""Twenty-five examples in `make test`, where there are many such tests; a hundred of each in a round of `make fuzz`."""

MAX_CPU_S = 20.0
"""Processor seconds, this process's own, after which reading counts as going on for ever."""
MAX_BYTES_A_BYTE = 150
"""Memory that a byte of JSON may take: an empty object in a list of many takes seventy."""
MIN_MEMORY_BYTES = 2_000_000
"""What it may take however short it is: an error's traceback, tables that are made at the first use."""


def read(reader: Callable[[], T], size_bytes: int) -> T | None:
    """Return what ``reader`` makes of an input of this size; None if that is an error of ours.

    Any other exception is the caller's to see, and so is too much memory, or time.
    """
    try:
        with _bounded(MIN_MEMORY_BYTES + MAX_BYTES_A_BYTE * size_bytes):
            return reader()
    except FederationError:
        return None


@contextmanager
def _bounded(max_memory_bytes: int) -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert peak_bytes <= max_memory_bytes


def _out_of_time(*_: object) -> None:
    raise AssertionError(f"reading took over {MAX_CPU_S:g} seconds of processor time")
