"""Adding a round's updates up as they come, where that is possible: :mod:`orchestrator.running_sum` in a run."""

from __future__ import annotations

from algorithms import load_algorithm
from algorithms.algorithm import by_examples, equally
from orchestrator.config import RunConfig
from orchestrator.records import COUNTED, OpenRound
from orchestrator.run_folder import RunFolder
from orchestrator.running_sum import RunningSum
from orchestrator.taking_in import kept_record, update_path, update_spec
from tasks import arrays
from tasks.messages import SurveyOrder, TrainOrder

KEPT_BYTES = 10**9
"""Bytes of updates that are kept in files until their round closes: averaged all at once they take less time."""


def adds_up(config: RunConfig, opened: OpenRound) -> bool:
    """Say whether the updates of a round are added up as they come.

    They are large, no scorer asks for them again, their mean is wanted, and what one weighs doesn't depend on others.
    """
    return (
        opened.is_crowded
        and len(opened.cohort) * opened.parameters.size_bytes > KEPT_BYTES
        and config.aggregator == "mean"
        and not config.verify
        and config.weighting == "examples"
        and load_algorithm(config.algorithm).weigh in (by_examples, equally)
    )


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
    number, algorithm = opened.round_number, load_algorithm(folder.config().algorithm)

    def weight(client_id: str) -> float | None:
        record = kept_record(folder, number, client_id, exchange)
        if record is None:
            return None
        if record.status not in COUNTED:
            return 0.0
        return float(record.num_examples) if algorithm.weigh is by_examples else 1.0

    model = arrays.map_file(folder.checkpoint(number - 1))
    running = RunningSum(
        folder.updates(number, exchange),
        update_spec(algorithm, arrays.spec_of(model), exchange),
        lambda client_id: update_path(folder, number, client_id, exchange),
        remove=folder.spare_files.give,
    )
    asked = list(opened.cohort) if exchange == SurveyOrder.name else opened.trainers
    running.add(asked, weight, all_of_them=all_of_them)
    return running
