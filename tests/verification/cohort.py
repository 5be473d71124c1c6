"""Candidates for tests: small ones by hand, and ten clients of which three are hostile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tasks.arrays import Array, Arrays
from verification import Candidate, ScoringContext, load_scorer
from verification.thresholds import default_threshold, kept

HOSTILE = ("c0", "c1", "c2")
HONEST = ("c3", "c4", "c5", "c6", "c7", "c8", "c9")
NUM_PARAMETERS = 20_000


def candidate(client_id: str, **parameters: Any) -> Candidate:
    return Candidate(client_id, {name: np.array(values) for name, values in parameters.items()}, 5, 10)


def candidates(**vectors: Sequence[float]) -> list[Candidate]:
    """Candidates with one float64 array each."""
    return [candidate(client_id, w=np.array(values, np.float64)) for client_id, values in vectors.items()]


def context(origin: Arrays | None = None, num: int = 2, **changes: Any) -> ScoringContext:
    """A context whose global model is ``origin``, or ``num`` zeros."""
    values: dict[str, Any] = {
        "global_parameters": {"w": np.zeros(num)} if origin is None else origin,
        "evaluate": None,
        "train_root": None,
        "num_byzantine": 0,
        "rng": np.random.default_rng(0),
    }
    return ScoringContext(**{**values, **changes})


def sign_flip(delta: Array, rng: np.random.Generator) -> Array:
    return -delta


def noise(delta: Array, rng: np.random.Generator) -> Array:
    return rng.standard_normal(delta.size).astype(np.float32)


def scaled(delta: Array, rng: np.random.Generator) -> Array:
    return 10 * delta


def nothing(delta: Array, rng: np.random.Generator) -> Array:
    return delta


Attack = Callable[[Array, np.random.Generator], Array]


def attacked_cohort(attack: Attack) -> tuple[list[Candidate], ScoringContext]:
    """Ten clients whose deltas are one direction and as much of their own; the first three attack.

    Each honest delta is g + e_k with |g| = |e_k| = 1 or nearly so, over two arrays of float32 and a counter. The root
    delta is another such one. The accuracy of parameters x + d is exp(-|d - g|²) times 0.9: best where all agree.
    """
    rng = np.random.default_rng(7)
    scale = NUM_PARAMETERS**-0.5
    model = rng.standard_normal(NUM_PARAMETERS).astype(np.float32)
    common = (scale * rng.standard_normal(NUM_PARAMETERS)).astype(np.float32)

    def honest() -> Array:
        update: Array = common + (scale * rng.standard_normal(NUM_PARAMETERS)).astype(np.float32)
        return update

    def evaluate(parameters: Arrays) -> float:
        delta = np.concatenate([parameters["a"], parameters["b"].reshape(-1)]) - model
        return 0.9 * float(np.exp(-np.sum((delta - common) ** 2, dtype=np.float64)))

    deltas = {client_id: honest() for client_id in (*HOSTILE, *HONEST)}
    deltas |= {client_id: attack(deltas[client_id], rng) for client_id in HOSTILE}
    root = named(model + honest())
    clients = [Candidate(client_id, named(model + delta), 5, 10) for client_id, delta in deltas.items()]
    return clients, context(named(model), evaluate=evaluate, train_root=lambda: root, num_byzantine=3, rng=rng)


def named(flat: Array) -> dict[str, Array]:
    return {"a": flat[:17_000], "b": flat[17_000:].reshape(30, 100), "counter": np.array(1000)}


def dropped_by(scorer: str, attack: Attack) -> set[str]:
    """Who of the attacked cohort is dropped with the default threshold."""
    clients, about = attacked_cohort(attack)
    scores: Mapping[str, float] = load_scorer(scorer)(clients, about)
    return {each.client_id for each in clients} - kept(
        scores, default_threshold(scorer), num_byzantine=about.num_byzantine
    )
