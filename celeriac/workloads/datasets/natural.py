"""Data sets that are made of users already, like writers or roles: who of them is at which client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from tasks.arrays import Array
from tasks.errors import ConfigurationError
from tasks.seeds import generator
from tasks.workload import Part

T = TypeVar("T")
Pair = tuple[Array, Array]
"""Inputs and targets, a row an example."""
SPLIT_SEED = 0
"""Default of ``split-seed``, the seed by which users are dealt to clients."""


def deal(users: Sequence[T], part: Part, seed: int) -> list[T]:
    """Return the users of one client: in a random order, the same for all clients, each gets the next ones.

    With as many clients as users each is one; with fewer, their numbers of users differ by one at most.

    Raises:
        ConfigurationError: If there are more clients than users.
    """
    if part.count > len(users):
        raise ConfigurationError(f"{part.count} clients for {len(users)} users: take 1 to {len(users)} clients")
    order = generator(seed, "users").permutation(len(users))
    return [users[index] for index in np.array_split(order, part.count)[part.index].tolist()]


def joined(pairs: Iterable[Pair]) -> Pair:
    """Return the inputs of several users in one array, and their targets."""
    inputs, targets = zip(*pairs, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)
