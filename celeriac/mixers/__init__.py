"""Mixers, a file each: pure functions that choose the updates to average before aggregation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.blocks import Floats
from tasks.errors import FederationError
from tasks.plugins import load_form

MIXERS = {
    "bucketing": "celeriac.mixers.bucketing:bucketing",
    "nnm": "celeriac.mixers.nnm:mix_nearest",
}
"""Names for ``--mix``, and where each is defined."""

FORMS = {"bucketing": "bucketing[:S]"}
"""Mixers with a parameter, and how to write it: each is defined as a function from the text after the colon, which may
be empty, to the mixer."""

Mixer = Callable[[Sequence[WeightedUpdate], AggregatorContext, np.random.Generator], Floats]
"""From a round's K updates to a mixing matrix: shape (m, K), no entry negative, every row sums to 1.

Mixed update i is the mean of the updates with the weights in row i; m is at least 1. A mixer gets the same updates and
context as an aggregator (:data:`celeriac.aggregators.Aggregator`), changes nothing in them, and reads them a block
at a time. The generator is derived from the run's seed and the round; all mixers of a round share it, in their order. A
mixer raises :class:`celeriac.aggregators.TooFewUpdatesError` if it can't tolerate ``num_byzantine`` of the updates.
"""

load_mixer: Callable[[str], Mixer] = functools.partial(load_form, "mixer", known=MIXERS, forms=FORMS)
"""Return a mixer by name, ``name:parameter``, or ``module:function``; see :func:`tasks.plugins.load_form`."""

_ROUNDING = 1e-9
"""Tolerance for the sum of a row, which should be 1."""


class MixingError(FederationError):
    """Raised when a user's mixer doesn't return a mixing matrix."""


def checked(matrix: object, num_updates: int) -> Floats:
    """Return a mixer's result as an array, shape (m, num_updates).

    Raises:
        MixingError: If it isn't a mixing matrix for ``num_updates`` updates.
    """
    try:
        found: Floats = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise MixingError(f"a mixer returned {type(matrix).__name__}, not a matrix of numbers: {error}") from None
    if found.ndim != 2 or not len(found) or found.shape[1] != num_updates:
        raise MixingError(
            f"a mixer returned an array of shape {found.shape} for {num_updates} updates: (m, {num_updates}) with m "
            "from 1 is allowed"
        )
    if not np.all(found >= 0):
        raise MixingError(f"a mixer returned a matrix with {found.min():g} in it: numbers from 0 are allowed")
    sums = found.sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= _ROUNDING))
    if wrong.size:
        raise MixingError(f"a mixer returned a matrix whose row {wrong[0]} sums to {sums[wrong[0]]:g}: it has to be 1")
    return found
