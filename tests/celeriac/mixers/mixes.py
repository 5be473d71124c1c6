"""Mixing for tests: with arrays in memory, and generators that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from celeriac.aggregators import WeightedUpdate
from celeriac.aggregators.blocks import Floats
from celeriac.mixers import Mixer, load_mixer
from celeriac.mixers.mixing import mix
from tasks.arrays import Array, Spec
from tests.celeriac.aggregators.cohorts import context_of


def in_memory(spec: Spec, number: int) -> list[dict[str, Array]]:
    """Room in memory, full of what must not stay there."""
    return [{name: np.full(entry.shape, 77, entry.numpy_dtype) for name, entry in spec.items()} for _ in range(number)]


def matrix_of(spec: str, updates: Sequence[WeightedUpdate], seed: int = 0, **about: Any) -> Floats:
    """The mixing matrix of a built-in mixer."""
    return load_mixer(spec)(updates, context_of(updates, **about), np.random.default_rng(seed))


def mixed(mixers: Sequence[Mixer], updates: Sequence[WeightedUpdate], **about: Any) -> list[WeightedUpdate]:
    """What the mixers make of updates, one after the other."""
    return list(mix(updates, context_of(updates, **about), mixers, np.random.default_rng(0), in_memory)[0])


def mixing_by(matrix: Any) -> Mixer:
    """A mixer that returns the same whatever it's given."""
    return lambda updates, context, rng: matrix
