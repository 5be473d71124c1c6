"""What Flower's programs have in common: the case, the training, and the record of when rounds were over.

All modules of this folder run in Flower's own virtual environment and import nothing of the project but
:mod:`benchmarks.drift`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.drift import NUM_ARRAYS, Values, array_size, is_right, step

VARIABLE = "BENCHMARK_CASE"
"""Environment variable with the case as JSON: the fields of :class:`Task`."""
TIMEOUT_S = 1800
"""Seconds that a round may take."""


@dataclass(frozen=True)
class Task:
    """What is to be carried out, and the file that says what came of it."""

    num_clients: int
    megabytes: float
    num_rounds: int
    result: str

    @classmethod
    def of_environment(cls) -> Task:
        """Return what the environment says."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def initial(self) -> list[Values]:
        """Return the model that round 1 starts from."""
        draw = np.random.default_rng(0)
        return [draw.standard_normal(array_size(self.megabytes), np.float32) for _ in range(NUM_ARRAYS)]


def trained(arrays: Sequence[Values], index: int) -> list[Values]:
    """Return what client ``index`` makes of a model."""
    return [values + np.float32(step(index)) for values in arrays]


@dataclass
class Record:
    """When the first round began and each was over, by the wall clock, and how many updates each had."""

    marks: list[float] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """Note that a round begins; but for the first it began when the last was over."""
        if not self.marks:
            self.marks.append(time.time())

    def end(self, num_updates: int) -> None:
        """Note that a round is over, with as many updates."""
        self.marks.append(time.time())
        self.updates.append(num_updates)

    def write(self, task: Task, final: Sequence[Values]) -> None:
        """Write the file of the result."""
        right = is_right(task.initial(), final, task.num_clients, task.num_rounds)
        path = Path(task.result)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"marks": self.marks, "updates": self.updates, "right": right}))
        temporary.replace(path)
