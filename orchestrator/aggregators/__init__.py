"""Aggregators, a file each: pure functions from a round's updates to one set of parameters."""

from __future__ import annotations

from typing import cast

from orchestrator.aggregators.aggregator import (
    AggregationError,
    Aggregator,
    AggregatorContext,
    TooFewUpdatesError,
    WeightedUpdate,
    asks_for_root,
    needs_root,
    num_needed,
)
from tasks.loading import load_function

AGGREGATORS = {
    "mean": "orchestrator.aggregators.mean:aggregate_mean",
    "median": "orchestrator.aggregators.median:aggregate_median",
    "trimmed_mean": "orchestrator.aggregators.trimmed_mean:aggregate_trimmed_mean",
    "geometric_median": "orchestrator.aggregators.geometric_median:aggregate_geometric_median",
    "krum": "orchestrator.aggregators.krum:aggregate_krum",
    "multi_krum": "orchestrator.aggregators.krum:aggregate_multi_krum",
    "bulyan": "orchestrator.aggregators.bulyan:aggregate_bulyan",
    "centered_clipping": "orchestrator.aggregators.centered_clipping:aggregate_centered_clipping",
    "fltrust": "orchestrator.aggregators.fltrust:aggregate_fltrust",
}
"""Names for ``--aggregator``, and where each is defined."""

__all__ = [
    "AGGREGATORS",
    "AggregationError",
    "Aggregator",
    "AggregatorContext",
    "TooFewUpdatesError",
    "WeightedUpdate",
    "asks_for_root",
    "load_aggregator",
    "needs_root",
    "num_needed",
]


def load_aggregator(spec: str) -> Aggregator:
    """Return an aggregator by name or ``module:function``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or can't be called.
    """
    return cast(Aggregator, load_function("aggregator", spec, AGGREGATORS))
