"""Splits, a file each: how a data set is divided among clients.

A split is a pure function of labels, number of parts and seed, so clients agree on the parts without communicating.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from celeriac.workloads.examples import Indices
from celeriac.workloads.splits.holding_out import CLIENT_TEST_SHARE, hold_out
from celeriac.workloads.splits.split import Labels, Split
from tasks.errors import ConfigurationError
from tasks.plugins import load_factory
from tasks.workload import Part

SPLITS = {
    "dirichlet": "celeriac.workloads.splits.dirichlet:dirichlet",
    "iid": "celeriac.workloads.splits.iid:iid",
    "niid": "celeriac.workloads.splits.niid:niid",
    "quantity": "celeriac.workloads.splits.quantity:quantity",
    "shards": "celeriac.workloads.splits.shards:shards",
}
"""Names for ``split=``, and where each is defined: a function from the text after the colon to a split."""

__all__ = ["CLIENT_TEST_SHARE", "SPLITS", "Labels", "Split", "client_split", "hold_out", "load_split"]


def load_split(spec: str) -> Split:
    """Return a split by ``NAME[:PARAMETER]`` or ``module:name[:PARAMETER]``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or called, or isn't annotated to return a :data:`Split`.
        ConfigurationError: If its parameter is wrong.
    """
    name, _, parameter = spec.partition(":")
    if name not in SPLITS:
        module, _, rest = spec.partition(":")
        own, _, parameter = rest.partition(":")
        name = f"{module}:{own}" if own else module
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
