"""Aggregators, a file each: pure functions from a round's updates to one set of parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from tasks.arrays import Array, Arrays, is_float
from tasks.auxiliary import parts_of
from tasks.errors import FederationError
from tasks.plugins import load_function

AGGREGATORS = {
    "mean": "celeriac.aggregators.mean:aggregate_mean",
    "median": "celeriac.aggregators.median:aggregate_median",
    "trimmed_mean": "celeriac.aggregators.trimmed_mean:aggregate_trimmed_mean",
    "geometric_median": "celeriac.aggregators.geometric_median:aggregate_geometric_median",
    "krum": "celeriac.aggregators.krum:aggregate_krum",
    "multi_krum": "celeriac.aggregators.krum:aggregate_multi_krum",
    "bulyan": "celeriac.aggregators.bulyan:aggregate_bulyan",
    "centered_clipping": "celeriac.aggregators.centered_clipping:aggregate_centered_clipping",
    "fltrust": "celeriac.aggregators.fltrust:aggregate_fltrust",
}
"""Names for ``--aggregator``, and where each is defined."""


@dataclass(frozen=True, slots=True)
class WeightedUpdate:
    """An update's parameters and how much it weighs; weights need not sum to one."""

    parameters: Arrays
    weight: float


class AggregationError(FederationError):
    """Raised when a round's updates can't be aggregated: the round fails with the message, and the run goes on."""


class TooFewUpdatesError(AggregationError):
    """Raised when an aggregator has too few updates to tolerate ``num_byzantine`` among them."""

    def __init__(self, aggregator: str, num_updates: int, num_byzantine: int, num_needed: int) -> None:
        super().__init__(
            f"{aggregator} has {num_updates} updates of which {num_byzantine} may be hostile (--num-byzantine): "
            f"at least {num_needed} are needed"
        )
        self.aggregator = aggregator
        self.num_updates = num_updates
        self.num_byzantine = num_byzantine
        self.num_needed = num_needed


@dataclass(frozen=True, slots=True)
class AggregatorContext:
    """Input to an aggregator beside the updates.

    Attributes:
        origin: The model that the round started from, with the updates' names, shapes and dtypes. Names that begin
            with ``@`` may be missing: these arrays start from zeros. Not to be changed.
        num_byzantine: How many of the updates may be hostile; None for as many as the aggregator can tolerate.
        trim: Share of the values that ``trimmed_mean`` cuts off at each end, from 0 to less than 0.5.
        buffers: Names of the model's arrays that aren't trained but counted or measured (running statistics).
        train_root: Returns parameters after training the model on the orchestrator's root data, its held-out data;
            trains anew at each call. None without such data.
    """

    origin: Arrays
    num_byzantine: int | None
    trim: float
    buffers: frozenset[str] = frozenset()
    train_root: Callable[[], Arrays] | None = None

    def is_trained(self, name: str, dtype: np.dtype[Any]) -> bool:
        """Say whether an array has floats that are trained, or belongs to a set and goes with such an array."""
        return is_float(dtype) and parts_of(name)[1] not in self.buffers


Aggregator = Callable[[Sequence[WeightedUpdate], AggregatorContext], dict[str, Array]]
"""From a round's updates, sorted by client id, to new arrays of the same names, shapes and dtypes.

There is at least one update. All have the same names, shapes and dtypes, and are finite. They are possibly read-only
memory maps: an aggregator changes nothing in them, and reads them a block at a time. It raises
:class:`AggregationError` if it can't aggregate them, in particular :class:`TooFewUpdatesError` if it can't tolerate
``num_byzantine`` of them; then the round fails, and the run goes on.
"""

load_aggregator: Callable[[str], Aggregator] = functools.partial(load_function, "aggregator", known=AGGREGATORS)
"""Return an aggregator by name or ``module:function``; see :func:`tasks.plugins.load_function`."""

F = TypeVar("F", bound=Callable[..., Any])
_NEEDS, _NEEDS_ROOT = "needs", "needs_root"


def needs_root(aggregator: F) -> F:
    """Mark an aggregator that needs ``train_root``: a decorator. Without held-out data the run ends at its start."""
    setattr(aggregator, _NEEDS_ROOT, True)
    return aggregator


def asks_for_root(aggregator: Aggregator) -> bool:
    """Say whether an aggregator is marked by :func:`needs_root`."""
    return getattr(aggregator, _NEEDS_ROOT, False) is True


def needs_updates(name: str, each: int, beside: int) -> Callable[[F], F]:
    """Mark an aggregator or mixer that needs ``each * f + beside`` updates to tolerate f hostile ones: a decorator."""

    def mark(function: F) -> F:
        setattr(function, _NEEDS, (name, each, beside))
        return function

    return mark


def num_needed(aggregator: Callable[..., Any], num_byzantine: int) -> int:
    """Return how many updates an aggregator or a mixer needs to tolerate ``num_byzantine`` of them.

    It is 1 if ``num_byzantine`` is 0, or without a mark by :func:`needs_updates`.
    """
    _, each, beside = _needs_of(aggregator)
    return each * num_byzantine + beside if num_byzantine else 1


def num_to_stand(aggregator: Callable[..., Any], num_updates: int, context: AggregatorContext) -> int:
    """Return how many hostile updates an aggregator or a mixer, marked, must tolerate among ``num_updates``.

    It is ``context.num_byzantine``, or, if that is None, the most that ``num_updates`` allows. Any number of updates
    allows 0.

    Raises:
        TooFewUpdatesError: If there are fewer updates than ``context.num_byzantine`` needs.
    """
    name, each, beside = _needs_of(aggregator)
    asked = context.num_byzantine
    if asked is None:
        return max(0, (num_updates - beside) // each)
    if num_updates < num_needed(aggregator, asked):
        raise TooFewUpdatesError(name, num_updates, asked, num_needed(aggregator, asked))
    return asked


def _needs_of(aggregator: Callable[..., Any]) -> tuple[str, int, int]:
    return cast(tuple[str, int, int], getattr(aggregator, _NEEDS, ("", 0, 1)))
