"""What a user of Celeriac imports: ``from celeriac import Workload, ClientData``.

A name is imported when it is first asked for, so a workload without PyTorch imports none. Celeriac's own modules import
each other by their places, never from here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# A tasks.py in the folder one stands in comes before ours on the path: the one beside this package is meant.
sys.path.insert(0, str(Path(__file__).parents[1]))
importlib.import_module("tasks")  # has our packages' names mean ours from here on
del sys.path[0]

if TYPE_CHECKING:
    from celeriac.aggregators import AggregationError, needs_root, needs_updates
    from celeriac.algorithms import Algorithm, LocalResult, ServerRound
    from celeriac.compressors import Compressor
    from celeriac.compressors.arraywise import Arraywise
    from celeriac.selectors.client_statistics import ClientStatistics
    from celeriac.workloads.examples import Examples
    from celeriac.workloads.splits import Split
    from celeriac.workloads.table import Table
    from celeriac.workloads.torch_workload import TorchWorkload
    from orchestrator.federate import FederatedRun, federate, load_model
    from tasks.arrays import Arrays, ArraySpec
    from tasks.context import Context, State, TimeBudget
    from tasks.evaluation import Evaluation
    from tasks.messages import Order, Response, Status, TrainOptions
    from tasks.metrics import Metric
    from tasks.orders.kind import OrderKind
    from tasks.results import Result
    from tasks.seeds import generator
    from tasks.workload import (
        ClientData,
        DataSource,
        Direction,
        Gradients,
        Part,
        Step,
        TrainResult,
        Workload,
    )

__all__ = [
    "federate",
    "load_model",
    "FederatedRun",
    "AggregationError",
    "Algorithm",
    "Arrays",
    "ArraySpec",
    "Arraywise",
    "ClientData",
    "Compressor",
    "Context",
    "DataSource",
    "Direction",
    "Evaluation",
    "Examples",
    "ClientStatistics",
    "Gradients",
    "LocalResult",
    "Metric",
    "Order",
    "OrderKind",
    "Part",
    "Response",
    "Result",
    "ServerRound",
    "Split",
    "State",
    "Status",
    "Step",
    "Table",
    "TimeBudget",
    "TorchWorkload",
    "TrainOptions",
    "TrainResult",
    "Workload",
    "generator",
    "needs_root",
    "needs_updates",
]

_ELSEWHERE = {
    "celeriac.aggregators": ("AggregationError", "needs_root", "needs_updates"),
    "celeriac.algorithms": ("Algorithm", "LocalResult", "ServerRound"),
    "celeriac.compressors": ("Compressor",),
    "celeriac.compressors.arraywise": ("Arraywise",),
    "celeriac.workloads.examples": ("Examples",),
    "celeriac.workloads.splits": ("Split",),
    "celeriac.workloads.table": ("Table",),
    "celeriac.workloads.torch_workload": ("TorchWorkload",),
    "celeriac.selectors.client_statistics": ("ClientStatistics",),
    "orchestrator.federate": ("FederatedRun", "federate", "load_model"),
    "tasks.arrays": ("Arrays", "ArraySpec"),
    "tasks.context": ("Context", "State", "TimeBudget"),
    "tasks.evaluation": ("Evaluation",),
    "tasks.metrics": ("Metric",),
    "tasks.messages": ("Order", "Response", "Status", "TrainOptions"),
    "tasks.orders.kind": ("OrderKind",),
    "tasks.results": ("Result",),
    "tasks.seeds": ("generator",),
}
"""Where each name is that isn't in ``tasks.workload``."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"celeriac has no {name}: it has {', '.join(__all__)}")
    home = next((home for home, names in _ELSEWHERE.items() if name in names), "tasks.workload")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
