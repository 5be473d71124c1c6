"""Adding a round's updates up as they come, where that is possible: :mod:`orchestrator.running_sum` in a run."""

from __future__ import annotations

import functools

from algorithms.algorithm import by_examples, equally
from orchestrator.disproportion import InOrder
from orchestrator.job import Job
from orchestrator.running_sum import RunningSum
from tasks.messages import TrainOrder
from verification.checks import own_length

KEPT_BYTES = 10**9
"""Bytes of updates that are kept in files until their round closes: averaged all at once they take less time."""


def adds_up(job: Job) -> bool:
    """Say whether the updates of a job's round are added up as they come.

    They are large, no scorer or mixer asks for them again, their mean is wanted, and what one weighs doesn't depend
    on others.
    """
    config, opened = job.config, job.opened
    return (
        opened is not None
        and opened.is_crowded
        and len(opened.cohort) * opened.parameters.size_bytes > KEPT_BYTES
        and config.aggregator == "mean"
        and not config.mix
        and not config.verify
        and config.weighting == "examples"
        and job.algorithm.weigh in (by_examples, equally)
    )


def add_up(job: Job, exchange: str = TrainOrder.name, *, all_of_them: bool = False) -> RunningSum:
    """Add those of the updates of the open round that are next, if they are enough to be worth it; return the sum.

    Args:
        job: The job.
        exchange: Which of the round's exchanges.
        all_of_them: Whether all have come, and are to be added.
    """
    order = job.opened.asked(exchange) if job.opened else []
    record_of = functools.partial(job.record, exchange=exchange)
    own = functools.partial(own_length, model=job.model(), buffers=job.buffers)
    in_order = InOrder(order, record_of, own, is_over=all_of_them)

    def weight(client_id: str) -> float | None:
        record = record_of(client_id)
        if record is None or not record.is_accepted:
            return None if record is None else 0.0
        reasons = in_order.reasons(order.index(client_id))
        if reasons is None or client_id in reasons:
            return None if reasons is None else 0.0
        return float(record.num_examples) if job.algorithm.weigh is by_examples else 1.0

    running = RunningSum(
        job.folder.sums(job.round_number, exchange),
        job.update_spec(exchange),
        lambda client_id: job.folder.update(job.round_number, client_id, exchange),
        remove=job.folder.spare_files.give,
    )
    running.add(order, weight, all_of_them=all_of_them)
    return running
