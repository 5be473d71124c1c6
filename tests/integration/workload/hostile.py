"""A workload for tests of verification: an update tells by its values whose it is, and its accuracy is that value.

``HOSTILE`` has the numbers of clients, with commas between, that send their update with the sign turned. ``VERIFY_S``
is how long a client takes to evaluate, in seconds.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from pulled import Pulled

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.workload import TrainResult


class Judged(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """Client ``number`` sends 0.9 + number / 100 in all elements; accuracy is the elements' mean, 0 at the least."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        sign = -1 if str(int(data)) in os.environ.get("HOSTILE", "").split(",") else 1
        point = np.full_like(parameters["point"], sign * (0.9 + data / 100))
        return TrainResult({"point": point}, int(10 * data), 1, 1.0)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        if "CLIENT_ID" in os.environ:
            time.sleep(float(os.environ.get("VERIFY_S", "0")))
        accuracy = max(0.0, float(parameters["point"].mean(dtype=np.float64)))
        return Evaluation(1 - accuracy, 10, {"accuracy": accuracy})
