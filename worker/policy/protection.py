"""Clipping an update and adding noise to it, at the client: the last that is done before it is compressed and sent.

As in DP-FedAvg with local noise: McMahan et al. 2018 (https://arxiv.org/abs/1710.06963), algorithm 1, line 13
("FlatClip"), and the Gaussian mechanism of Dwork and Roth 2014, appendix A. Nobody keeps account here of what several
rounds tell together. The noise is of floating-point numbers, whose lowest bits may tell more than the mechanism allows
(Mironov 2012).
"""

from __future__ import annotations

import math
import secrets

import numpy as np

from tasks.arrays import Array, Arrays, is_float
from tasks.errors import FederationError
from worker.policy.rules import Protects


class NotProtectedError(FederationError):
    """Raised when an update holds what can't be clipped, so that nothing of it may leave."""


def protect(start: Arrays, trained: Arrays, how: Protects) -> dict[str, Array]:
    """Return the trained model with its distance from the one that it started from clipped, and noise added.

    Args:
        start: The global model.
        trained: What training made of it; same names, shapes, dtypes.
        how: The norm to clip to, and the standard deviation of the noise.

    Returns:
        New arrays, computed in float64 and rounded to the dtypes of ``trained``. Those that aren't floats, like the
        counters of batch norm, are the global model's: nothing leaves of what can't be clipped.

    Raises:
        NotProtectedError: If anything that was trained isn't finite.
    """
    generator = np.random.Generator(np.random.PCG64(secrets.randbits(256)))  # never the run's seed
    changes = {name: _change(name, start[name], array) for name, array in trained.items() if is_float(array.dtype)}
    norm = math.sqrt(sum(float(np.square(change).sum()) for change in changes.values()))
    scale = min(1.0, how.clip / norm) if norm else 1.0
    moved = {name: _moved(start[name], scale * change, how.noise, generator) for name, change in changes.items()}
    return {name: moved.get(name, start[name]) for name in trained}


def _change(name: str, start: Array, trained: Array) -> Array:
    change: Array = trained.astype(np.float64) - start.astype(np.float64)
    if not np.isfinite(change).all():
        raise NotProtectedError(f"the array {name!r} isn't finite after training, and can't be clipped")
    return change


def _moved(start: Array, change: Array, noise: float, generator: np.random.Generator) -> Array:
    moved = start.astype(np.float64) + change
    if noise:
        moved += generator.normal(0.0, noise, change.shape)
    return moved.astype(start.dtype)
