"""Seeds for whatever is random, derived from the run's one seed and what they are for.

The same parts give the same seed on every machine and in every process, whatever else ran before.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on ``seed`` and every one of ``parts``, in order."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: int | str) -> np.random.Generator:
    """Return a NumPy generator seeded with :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(seed, *parts))


def context_seed(seed: int, round_number: int, purpose: str) -> int:
    """Return the seed of a context, in [0, 2**32), the most that torch, scikit-learn and JAX all take.

    Args:
        seed: The run's.
        round_number: The round; 0 for the initial model.
        purpose: A client's id, or what a context of the orchestrator's is for.
    """
    return derive_seed(seed, round_number, purpose) % 2**32
