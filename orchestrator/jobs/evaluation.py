"""The orchestrator's own evaluation: how good a round's model is on held-out data, and on how much of it."""

from __future__ import annotations

import copy
import logging
import math
import time
from typing import Any

import numpy as np

from orchestrator.jobs.job import Job
from orchestrator.store.records import Evaluated
from tasks import arrays
from tasks.arrays import Arrays
from tasks.errors import ConfigurationError, FederationError
from tasks.seeds import generator
from tasks.user_code import checked_evaluation, user_code

logger = logging.getLogger(__name__)


def evaluate(job: Job, parameters: Arrays) -> Evaluated:
    """Return how good a model is; a model that diverged has no loss.

    Raises:
        FederationError: If the workload can't say.
    """
    examples = share_of(job.holdout, job.config.evaluate_share, job.config.seed)
    if examples is None:
        return Evaluated()
    started = time.perf_counter()
    with user_code("evaluate()"):
        evaluation = checked_evaluation(job.workload.evaluate(parameters, examples, job.context("evaluation")))
    took_s = round(time.perf_counter() - started, 6)
    problem = evaluation.problem() or evaluation.unknown()
    return Evaluated(metrics=evaluation.shown(), problem=problem, duration_s=took_s)


def evaluate_model(job: Job) -> Evaluated:
    """Return how good the model is that a round ended with, or why the workload can't say."""
    try:
        return evaluate(job, arrays.map_file(job.folder.checkpoint(job.round_number)))
    except FederationError as error:
        logger.exception("the model can't be evaluated")
        return Evaluated(problem=f"{error}; see logs/jobs.log")


def share_of(examples: Any, share: float, seed: int) -> Any:
    """Return a share of held-out examples that ``seed`` draws, the same in all rounds, rounded up.

    Args:
        examples: An object with ``inputs`` and ``targets`` of one length, as the built-in workloads have; None: none.
        share: The share, in (0, 1]; with 1 they may be anything.
        seed: The run's.

    Raises:
        ConfigurationError: If they are something else.
    """
    if examples is None or share == 1:
        return examples
    try:
        inputs, targets = np.asarray(examples.inputs), np.asarray(examples.targets)
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs, {len(targets)} targets")
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"--evaluate-share {share:g} takes examples of an object with inputs and targets, row by row; "
            f"holdout_data() returned {type(examples).__name__} ({error}): allowed is 1, or --evaluate-every"
        ) from None
    num_taken = math.ceil(share * len(targets))
    rows = np.sort(generator(seed, "held-out examples").permutation(len(targets))[:num_taken])
    taken = copy.copy(examples)
    for name, values in (("inputs", inputs), ("targets", targets)):
        object.__setattr__(taken, name, values[rows])  # a dataclass may be frozen
    return taken
