"""A workload for tests that adds up what its rounds spend, as the accountant of differential privacy does.

Its update of the round ``NAN_ROUND`` isn't finite, which the orchestrator rejects. In the round ``HELD_ROUND`` it waits
as long as there is the file ``HELD``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.workload import TrainResult
from tests.integration.workload.pulled import Pulled

SPENT_A_ROUND = 0.25


class Accountant(Pulled):
    """Tells by its metric ``spent`` what all its accepted rounds and this one have spent."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        held = Path(os.environ["HELD"])
        while context.round_number == int(os.environ["HELD_ROUND"]) and held.is_file() and not context.budget.is_over():
            time.sleep(0.01)
        context.state["spent"] = context.state.get("spent", 0.0) + SPENT_A_ROUND
        context.state["rounds"] = np.append(context.state.get("rounds", np.zeros(0, int)), context.round_number)
        is_bad = context.round_number == int(os.environ["NAN_ROUND"])
        point = np.full_like(parameters["point"], np.nan) if is_bad else parameters["point"] + np.float32(1)
        metrics = {"spent": context.state["spent"], "rounds": float(len(context.state["rounds"]))}
        return TrainResult({"point": point}, 10, 1, 1.0, metrics)
