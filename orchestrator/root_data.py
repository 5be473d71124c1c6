"""Training by the orchestrator itself, on data that it holds out and trusts: clients' updates are compared with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.run_folder import RunFolder
from tasks import arrays
from tasks.arrays import Arrays
from tasks.seeds import derive_seed
from tasks.user_code import UserCodeError, checked_result, user_code
from tasks.workload import TimeBudget, Workload
from verification.checks import UpdateRejectedError, check_update


def root_training(
    folder: RunFolder, round_number: int, workload: Workload, holdout: Any
) -> Callable[[], Arrays] | None:
    """Return what trains the model that a round started from on the held-out data, as a client would.

    It trains anew at each call, to the same parameters. None if there is no such data. It raises UserCodeError if the
    workload does, or returns something else than parameters of this model that are finite.
    """
    if holdout is None:
        return None
    config = folder.config()
    seed = derive_seed(config.seed, round_number, "root data")

    def train_root() -> Arrays:
        budget = TimeBudget(config.timeout_s)
        model = arrays.map_file(folder.checkpoint(round_number - 1))  # memory of its own: it is users' code that trains
        with user_code("train() on the held-out data"):
            result = checked_result(workload.train(model, holdout, config.options, seed=seed, budget=budget))
        try:
            check_update(result.parameters, arrays.spec_of(model))
        except UpdateRejectedError as error:
            raise UserCodeError(f"train() on the held-out data: {error}") from None
        return result.parameters

    return train_root
