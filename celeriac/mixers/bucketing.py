"""Bucketing: the means of small random groups of updates.

Karimireddy, He, Jaggi: Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing, ICLR 2022
(https://arxiv.org/abs/2006.09365), Algorithm 1: with a random permutation pi of the n updates and ceil(n/s) buckets of
s, y_i = 1/s times the sum of x_pi(k) for k from (i - 1) s + 1 to min(n, i s). If s doesn't divide n, the last bucket
has fewer updates; here their sum is divided by their number, rather than by s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.blocks import Floats
from tasks.errors import ConfigurationError

DEFAULT_SIZE = 2
"""Updates in a bucket by default; the paper advises 2."""
_NUMBER = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bucketing:
    """The mixer; ``size`` is s, the number of updates in a bucket, from 2."""

    size: int = DEFAULT_SIZE

    def __call__(
        self, updates: Sequence[WeightedUpdate], _context: AggregatorContext, rng: np.random.Generator
    ) -> Floats:
        """Return the mixing matrix of the buckets: shape (ceil(n/s), n).

        f hostile updates spoil at most f buckets, so the aggregator must tolerate f hostile ones among ceil(n/s). In
        return, honest buckets differ less from each other than honest updates do.
        """
        order = rng.permutation(len(updates))
        buckets = [order[start : start + self.size] for start in range(0, len(order), self.size)]
        matrix = np.zeros((len(buckets), len(order)))
        for row, bucket in zip(matrix, buckets, strict=True):
            row[bucket] = 1.0 / len(bucket)
        return matrix


def bucketing(parameter: str) -> Bucketing:
    """Return the mixer for the text after the colon, which may be empty.

    Raises:
        ConfigurationError: If the text is neither empty nor a whole number from 2.
    """
    if not parameter:
        return Bucketing()
    size = int(parameter) if _NUMBER.fullmatch(parameter) else 0
    if size < 2:
        raise ConfigurationError(
            f"mixer 'bucketing:{parameter}': after the colon stands how many updates are in a bucket, a whole number "
            "from 2 to 999999, like bucketing:2"
        )
    return Bucketing(size)
