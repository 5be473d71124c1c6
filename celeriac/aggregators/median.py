"""The median, coordinate by coordinate: tolerates a hostile minority.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018
(https://arxiv.org/abs/1803.01498), Definition 1 and Algorithm 1 (Option I).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import mean_of_rows, reduce_blocks, rounded
from tasks.arrays import Array


@needs_updates("median", 2, 1)
def aggregate_median(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return at each place the median of the updates' values; for an even number, the midpoint of the middle two.

    With 2f + 1 updates or more, f of them hostile, it is within the honest values. Weights don't count, as in the
    paper: clients could claim any number of examples. The order of the updates makes no difference.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    num_to_stand(aggregate_median, len(updates), context)
    return reduce_blocks([update.parameters for update in updates], updates[0].parameters, median_of_rows)


def median_of_rows(rows: Array) -> Array:
    """Return the median of every column: shape (n,), in the dtype of ``rows``, a midpoint rounded once."""
    ranked, half = np.sort(rows, axis=0), len(rows) // 2
    if len(rows) % 2:
        middle: Array = ranked[half]
        return middle
    low, high = ranked[half - 1 : half + 1]
    between = rounded(mean_of_rows(np.stack([low, high]), (1.0, 1.0)), rows.dtype)
    return np.where(low == high, low, between)
