"""Updates for tests of aggregators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from celeriac.aggregators import AGGREGATORS, AggregatorContext, WeightedUpdate, load_aggregator
from tasks.arrays import Array, Arrays

NAMES = sorted(AGGREGATORS.keys() - {"fltrust"})
"""Those that make do with the updates; ``fltrust`` needs root data, and has its tests for itself."""
ROBUST = [name for name in NAMES if name != "mean"]


def updates_of(*rows: Any, weights: Sequence[float] | None = None, dtype: Any = np.float64) -> list[WeightedUpdate]:
    """Updates with one array, ``w``; each weighs 1 if nothing is said."""
    given = weights or [1.0] * len(rows)
    return [WeightedUpdate({"w": np.array(row, dtype)}, weight) for row, weight in zip(rows, given, strict=True)]


def context_of(
    updates: Sequence[WeightedUpdate],
    origin: Arrays | None = None,
    num_byzantine: int | None = None,
    trim: float = 0.2,
    **rest: Any,
) -> AggregatorContext:
    """A context whose model is ``origin``, or zeros."""
    zeros = {name: np.zeros_like(values) for name, values in updates[0].parameters.items()}
    return AggregatorContext(zeros if origin is None else origin, num_byzantine, trim, **rest)


def aggregate(name: str, updates: Sequence[WeightedUpdate], **about: Any) -> Array:
    """What an aggregator makes of updates with one array, ``w``."""
    return load_aggregator(name)(updates, context_of(updates, **about))["w"]


def random_rows(num_updates: int, num_elements: int = 50, seed: int = 0) -> Array:
    """Rows around a point that isn't the origin, no two equally far from each other."""
    rng = np.random.default_rng(seed)
    return 3 * rng.standard_normal(num_elements) + rng.standard_normal((num_updates, num_elements))
