"""Adding a round's updates up as they come, where that is possible: :mod:`orchestrator.running_sum` in a run."""

from __future__ import annotations

import functools

from algorithms import load_algorithm
from algorithms.algorithm import by_examples, equally
from orchestrator.config import RunConfig
from orchestrator.disproportion import InOrder
from orchestrator.records import OpenRound
from orchestrator.run_folder import RunFolder
from orchestrator.running_sum import RunningSum
from orchestrator.taking_in import kept_record, update_path, update_spec
from tasks import arrays
from tasks.messages import SurveyOrder, TrainOrder
from verification.checks import own_length

KEPT_BYTES = 10**9
"""Bytes of updates that are kept in files until their round closes: averaged all at once they take less time."""


def adds_up(config: RunConfig, opened: OpenRound) -> bool:
    """Say whether the updates of a round are added up as they come.

    They are large, no scorer or mixer asks for them again, their mean is wanted, and what one weighs doesn't depend
    on others.
    """
    return (
        opened.is_crowded
        and len(opened.cohort) * opened.parameters.size_bytes > KEPT_BYTES
        and config.aggregator == "mean"
        and not config.mix
        and not config.verify
        and config.weighting == "examples"
        and load_algorithm(config.algorithm).weigh in (by_examples, equally)
    )


def asked(opened: OpenRound, exchange: str) -> list[str]:
    """Return whom a round's exchange asks, in the order of its slots."""
    return list(opened.cohort) if exchange == SurveyOrder.name else opened.trainers


def add_up(
    folder: RunFolder, opened: OpenRound, exchange: str = TrainOrder.name, *, all_of_them: bool = False
) -> RunningSum:
    """Add those of a round's updates that are next, if they are enough to be worth it, and return the sum.

    Args:
        folder: The run's folder.
        opened: The round.
        exchange: Which of its exchanges.
        all_of_them: Whether all have come, and are to be added.
    """
    number, algorithm, order = opened.round_number, load_algorithm(folder.config().algorithm), asked(opened, exchange)
    model = arrays.map_file(folder.checkpoint(number - 1))
    record_of = functools.partial(kept_record, folder, number, exchange=exchange)
    own = functools.partial(own_length, model=model, buffers=folder.buffers())
    in_order = InOrder(order, record_of, own, is_over=all_of_them)

    def weight(client_id: str) -> float | None:
        record = record_of(client_id)
        if record is None or not record.is_accepted:
            return None if record is None else 0.0
        reasons = in_order.reasons(order.index(client_id))
        if reasons is None or client_id in reasons:
            return None if reasons is None else 0.0
        return float(record.num_examples) if algorithm.weigh is by_examples else 1.0

    running = RunningSum(
        folder.sums(number, exchange),
        update_spec(algorithm, arrays.spec_of(model), exchange),
        lambda client_id: update_path(folder, number, client_id, exchange),
        remove=folder.spare_files.give,
    )
    running.add(order, weight, all_of_them=all_of_them)
    return running
