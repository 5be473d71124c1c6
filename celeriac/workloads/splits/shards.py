"""Shards: each part gets a few slices of the data set sorted by label, so most parts have only a few classes.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data" (2017, arXiv 1602.05629),
section 3: "first sort the data by digit label, divide it into 200 shards of size 300, and assign each of 100 clients
2 shards".
"""

from __future__ import annotations

import functools

import numpy as np

from celeriac.workloads.examples import Indices
from celeriac.workloads.splits import Labels, Split, check_num_parts
from tasks.errors import ConfigurationError
from tasks.seeds import generator

DEFAULT_PER_PART = 2


def shards(parameter: str) -> Split:
    """Return the split ``shards:N``, with N shards a part; N is 2 if there is no parameter.

    Raises:
        ConfigurationError: If the parameter is no whole number from 1 on.
    """
    return functools.partial(shard_parts, per_part=_per_part(parameter))


def _per_part(parameter: str) -> int:
    if not parameter:
        return DEFAULT_PER_PART
    if not (parameter.isascii() and parameter.isdigit() and len(parameter) < 10 and int(parameter) > 0):
        raise ConfigurationError(
            f"split 'shards:{parameter}': write shards:N with a whole number from 1 to 999999999, "
            f"like shards:{DEFAULT_PER_PART}"
        )
    return int(parameter)


def shard_parts(labels: Labels, num_parts: int, seed: int, per_part: int = DEFAULT_PER_PART) -> list[Indices]:
    """Sort by label, cut into ``num_parts * per_part`` shards of equal size, and deal these out at random.

    Args:
        labels: int64, shape ``(n,)``; examples with the same label stay in the order of the data set.
        num_parts: Number of parts.
        seed: Seeds the deal.
        per_part: Shards a part.

    Returns:
        Ascending int64 indices of each part. Sizes of shards differ by at most one.

    Raises:
        ConfigurationError: If a shard would be empty.
    """
    check_num_parts(len(labels), num_parts)
    num_shards = num_parts * per_part
    if num_shards > len(labels):
        raise ConfigurationError(
            f"{len(labels)} examples can't be cut into {num_shards} shards, {per_part} for each of {num_parts} parts: "
            f"take shards:1 to shards:{len(labels) // num_parts}"
        )
    pieces = np.array_split(np.argsort(labels, kind="stable").astype(np.int64), num_shards)
    deal = generator(seed, "shards").permutation(num_shards).reshape(num_parts, per_part)
    return [np.sort(np.concatenate([pieces[shard] for shard in hand])) for hand in deal]
