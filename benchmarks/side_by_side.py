"""Calling a function with many arguments, in processes side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    function: Callable[[T], R], arguments: Iterable[T], processes: int, per_process: int | None = None
) -> Iterator[tuple[T, R]]:
    """Call a function with each argument in processes that say nothing; yield arguments and results as they come.

    Args:
        function: What is called.
        arguments: Each of them once.
        processes: Calls at a time.
        per_process: Calls after which a process is replaced; None: never.
    """
    with ProcessPoolExecutor(
        processes, get_context("spawn"), logging.disable, (logging.WARNING,), max_tasks_per_child=per_process
    ) as pool:
        futures = {pool.submit(function, argument): argument for argument in arguments}
        for future in as_completed(futures):
            yield futures[future], future.result()
