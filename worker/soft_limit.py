"""The soft time limit of an order: it ends the training's time budget, and tears no step.

Celery's prefork pool raises an exception wherever the code happens to be when a soft limit is over, in the middle of an
optimiser's step for instance. Here the signal ends the budget that training asks between two steps. Pools without
soft limits (solo, threads, eager) do with the budget's clock alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.workload import TimeBudget

_budgets: list[TimeBudget] = []


@contextmanager
def soft_limit(budget: TimeBudget) -> Iterator[None]:
    """Have the soft limit of the task that runs now end ``budget``.

    The handler stays when the task is over: the signal may come just then, and must not be taken for the next one's.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _expire)
    _budgets.append(budget)
    try:
        yield
    finally:
        _budgets.remove(budget)


def _expire(_number: int, _frame: object) -> None:
    for budget in _budgets:
        budget.expire()
