"""Splits, a file each: how a data set is divided among clients.

A split is a pure function of labels, number of parts and seed, so clients agree on the parts without communicating.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from celeriac.workloads.examples import Indices
from tasks.errors import ConfigurationError
from tasks.plugins import load_factory, split_spec
from tasks.seeds import generator
from tasks.workload import Part

SPLITS = {
    "dirichlet": "celeriac.workloads.splits.dirichlet:dirichlet",
    "iid": "celeriac.workloads.splits.iid:iid",
    "niid": "celeriac.workloads.splits.niid:niid",
    "quantity": "celeriac.workloads.splits.quantity:quantity",
    "shards": "celeriac.workloads.splits.shards:shards",
}
"""Names for ``split=``, and where each is defined: a function from the text after the colon to a split."""

Labels = npt.NDArray[np.int64]
"""The class of each example of a data set, shape ``(n,)``."""

Split = Callable[[Labels, int, int], list[Indices]]
"""A pure function from labels, number of parts and seed to each part's indices, ascending."""

MIN_EXAMPLES = 10
"""Least number of examples in a part of a skewed split, as in NIID-Bench (Li et al. 2021, arXiv 2102.02079)."""

CLIENT_TEST_SHARE = 0.1
"""Share of its own examples that a client of a built-in workload keeps for evaluation."""


def load_split(spec: str) -> Split:
    """Return a split by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or called, or isn't annotated to return a :data:`Split`.
        ConfigurationError: If its parameter is wrong.
    """
    name, parameter = split_spec(spec, SPLITS)
    split: Split = load_factory("split", name, SPLITS, "Split", lambda returned: returned == Split)(parameter)
    return split


def client_split(
    labels: Labels, part: Part, seed: int, split: str = "iid", test_share: float = CLIENT_TEST_SHARE
) -> tuple[Indices, Indices]:
    """Return one client's indices to train on and to test on, from its part of the split.

    A process computes a split once for all its clients. With a test share of 0 the client trains on all of its part.

    Raises:
        ConfigurationError: If there are too few examples for the split, or it returns wrong parts.
    """
    own = _parts(split, labels.astype(np.int64).tobytes(), part.count, seed)[part.index]
    return hold_out(own, test_share, seed) if test_share else (own, own[:0])


def hold_out(indices: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Split ``indices`` at random into examples to train on and examples to test on.

    ``share`` of all, rounded to the nearest whole number, are test examples, but at least one and never all. A single
    example is for training.

    Args:
        indices: int64, shape ``(n,)``, n from 1.
        share: Share to test on, over 0 and under 1.
        seed: Seeds the choice.

    Returns:
        Ascending int64 indices to train on, and those to test on.

    Raises:
        ConfigurationError: If there are no indices, or the share is out of range.
    """
    if not 0 < share < 1:
        raise ConfigurationError(f"share {share} to hold out: it has to be over 0 and under 1")
    if len(indices) == 0:
        raise ConfigurationError("no examples to hold any out of: at least one is needed")
    num_test = min(max(round(share * len(indices)), 1), len(indices) - 1)
    order = generator(seed, "hold out").permutation(indices)
    return np.sort(order[num_test:]), np.sort(order[:num_test])


@functools.lru_cache(maxsize=4)
def _parts(split: str, labels: bytes, num_parts: int, seed: int) -> list[Indices]:
    classes = np.frombuffer(labels, dtype=np.int64)
    parts = load_split(split)(classes, num_parts, seed)
    _check(split, parts, len(classes), num_parts)
    return parts


def _check(split: str, parts: Sequence[Indices], num_examples: int, num_parts: int) -> None:
    """Refuse parts, perhaps from a user's own split, that don't hold every example exactly once."""
    if len(parts) != num_parts or not all(len(part) for part in parts):
        raise ConfigurationError(f"split {split!r} made {len(parts)} parts: {num_parts} are needed, none of them empty")
    if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(num_examples)):
        raise ConfigurationError(f"split {split!r}: each of the {num_examples} examples has to be in exactly one part")


def check_num_parts(num_examples: int, num_parts: int) -> None:
    """Refuse a number of parts that would leave one empty.

    Raises:
        ConfigurationError: If there are fewer examples than parts, or no parts.
    """
    if not 1 <= num_parts <= num_examples:
        raise ConfigurationError(
            f"{num_examples} examples can't be split into {num_parts} parts: take 1 to {num_examples} parts"
        )


def no_parameter(name: str, parameter: str) -> None:
    """Refuse a parameter for a split that has none.

    Raises:
        ConfigurationError: If there is one.
    """
    if parameter:
        raise ConfigurationError(f"split '{name}:{parameter}': {name} has no parameter, write split={name}")


def concentration(name: str, parameter: str) -> float:
    """Read the ALPHA of ``NAME:ALPHA``; without one it is 0.5.

    Raises:
        ConfigurationError: If it is no number from 0.001 to 1,000,000.
    """
    try:
        alpha = float(parameter or 0.5)
    except ValueError:
        alpha = math.nan
    if not 1e-3 <= alpha <= 1e6:
        raise ConfigurationError(
            f"split '{name}:{parameter}': write {name}:ALPHA with ALPHA from 0.001 to 1000000, like {name}:0.5"
        )
    return alpha


def cut(examples: Indices, shares: npt.NDArray[np.float64]) -> list[Indices]:
    """Cut ``examples`` into consecutive pieces in proportion to ``shares``, rounding each cut.

    Args:
        examples: int64, shape ``(n,)``.
        shares: float64, shape ``(parts,)``; they sum to 1.
    """
    cuts = np.rint(np.cumsum(shares)[:-1] * len(examples)).astype(np.int64)
    return np.split(examples, np.minimum(cuts, len(examples)))


def top_up(parts: Sequence[Indices], rng: np.random.Generator) -> list[Indices]:
    """Give every part at least :data:`MIN_EXAMPLES`, or a quarter of an equal share (but one or more) if that is less.

    A minimum near the average would undo the skew. In the order of parts, a part with too few takes random examples,
    one at a time, from the part that is the largest at that moment (the first of equals). All other examples stay where
    they are.

    Returns:
        Ascending int64 indices of each part.
    """
    average = sum(len(part) for part in parts) // len(parts)
    least = min(MIN_EXAMPLES, max(average // 4, 1))
    shuffled = [rng.permutation(part).tolist() for part in parts]
    for part in shuffled:
        while len(part) < least:
            part.append(max(shuffled, key=len).pop())
    return [np.array(sorted(part), dtype=np.int64) for part in shuffled]
