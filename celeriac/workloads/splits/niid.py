"""Levels of skew: a whole number selects a split, as in frameworks with one dial from iid to most skewed."""

from __future__ import annotations

from collections.abc import Callable

from celeriac.workloads.splits import Split
from celeriac.workloads.splits.dirichlet import dirichlet
from celeriac.workloads.splits.iid import iid
from celeriac.workloads.splits.shards import shards
from tasks.errors import ConfigurationError

LEVELS: tuple[tuple[Callable[[str], Split], str], ...] = (
    (iid, ""),
    (dirichlet, "1"),
    (dirichlet, "0.5"),
    (dirichlet, "0.1"),
    (shards, "2"),
    (shards, "1"),
)
"""The split of each level, from 0 on, and its parameter; each level is more skewed than the one before."""


def niid(parameter: str) -> Split:
    """Return the split ``niid:LEVEL``; LEVEL has no default.

    Raises:
        ConfigurationError: If there is no such level.
    """
    levels = {str(level): split for level, split in enumerate(LEVELS)}
    if parameter not in levels:
        raise ConfigurationError(f"split 'niid:{parameter}': write niid:LEVEL with a level of {', '.join(levels)}")
    make, its_parameter = levels[parameter]
    return make(its_parameter)
