"""A workload whose training and evaluation start processes of their own, in each of the usual ways.

``CHILDREN`` names a file: training writes the ids of processes there that it starts and that don't end by themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from pulled import Pulled

NUMBERS = list(range(8))
TOTAL = sum(number * number for number in NUMBERS)


def square(number: int) -> int:
    return number * number


def by_loader() -> int:
    from torch.utils.data import DataLoader  # here, as spawned processes import this module

    numbers: Any = NUMBERS
    return sum(int(batch.sum()) ** 2 for batch in DataLoader(numbers, batch_size=1, num_workers=2))


def by_executor() -> int:
    with ProcessPoolExecutor(2) as executor:
        return sum(executor.map(square, NUMBERS))


def by_pool() -> int:
    with multiprocessing.Pool(2) as pool:
        return sum(pool.map(square, NUMBERS))


def by_spawned_pool() -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return sum(pool.map(square, NUMBERS))


def by_joblib() -> int:
    from joblib import Parallel, delayed

    return sum(Parallel(n_jobs=2)(delayed(square)(number) for number in NUMBERS))


WAYS: tuple[Callable[[], int], ...] = (by_loader, by_executor, by_pool, by_spawned_pool, by_joblib)


class EachWay(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """Uses each of these ways, and fails if one gives another number."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        check_each_way()
        return super().train(*args, **kwargs)

    def evaluate(self, *args: Any) -> Any:
        check_each_way()
        return super().evaluate(*args)


def check_each_way() -> None:
    for way in WAYS:
        assert way() == TOTAL, way


class Leaves(Pulled):  # type: ignore[misc]  # likewise
    """Starts processes, forked and spawned, that sleep longer than any test takes, and waits for the first."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        contexts = [multiprocessing.get_context(method) for method in ("fork", "spawn")]
        processes = [context.Process(target=time.sleep, args=(3600,)) for context in contexts]  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        ids = [os.getpid(), *(process.pid for process in processes)]
        Path(os.environ["CHILDREN"]).write_text(" ".join(map(str, ids)) + "\n")
        processes[0].join()
        return super().train(*args, **kwargs)
