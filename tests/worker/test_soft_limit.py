"""The soft limit ends the budget, and nothing else."""

from __future__ import annotations

import os
import signal
import threading

from tasks.context import TimeBudget
from worker.local_training import soft_limit


def test_the_signal_of_a_soft_limit_ends_the_budget_of_the_task_that_runs() -> None:
    # Given a task with all the time in the world
    budget, other = TimeBudget(1e9), TimeBudget(1e9)

    # When its soft limit is over
    with soft_limit(budget):
        assert not budget.is_over()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert budget.is_over()

    # Then its budget is over, and nobody else's
    assert budget.cut_short
    assert not other.is_over()


def test_a_signal_that_comes_when_the_task_is_over_does_nothing() -> None:
    # Given a task that is over
    first, second = TimeBudget(1e9), TimeBudget(1e9)
    with soft_limit(first):
        pass

    # When its signal comes late, then neither it nor the next task takes notice
    os.kill(os.getpid(), signal.SIGUSR1)
    with soft_limit(second):
        assert not second.is_over()
    assert not first.is_over()


def test_a_pool_of_threads_does_without_the_signal() -> None:
    # Given a task in another thread than the main one, where no handler can be set
    budget = TimeBudget(0)
    seen: list[bool] = []

    def run() -> None:
        with soft_limit(budget):
            seen.append(budget.is_over())

    # When it runs, then the budget's own clock ends it
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]
