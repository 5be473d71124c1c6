"""Digits, for tests: a client tells how many modules its training imported, and whether it had got ready before."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from celeriac.workloads.datasets.digits import Digits
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.workload import TrainResult


class Importing(Digits):
    """Its metrics are ``num_imported`` and ``num_warmed_up``, the examples that it was given to get ready with."""

    def __init__(self) -> None:
        super().__init__()
        self._num_warmed_up = 0

    def warm_up(self, data: Any) -> None:
        self._num_warmed_up = len(data.targets)

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        before = set(sys.modules)
        trained = super().train(parameters, data, context)
        metrics = {"num_imported": len(sys.modules.keys() - before), "num_warmed_up": self._num_warmed_up}
        return replace(trained, metrics=metrics)


class Unready(Importing):
    """One that can't get ready."""

    def warm_up(self, data: Any) -> None:
        raise RuntimeError("no luck")
