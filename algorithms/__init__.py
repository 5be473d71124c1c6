"""Federated algorithms, a file each: the client's part and the orchestrator's, pure functions over frozen state."""

from __future__ import annotations

import math
from collections.abc import Mapping

from algorithms.algorithm import (
    Algorithm,
    LocalResult,
    LocalTask,
    ServerRound,
    Settings,
    State,
    UpdateInfo,
    Weights,
    by_examples,
    equally,
    take_target,
    train_plainly,
)
from tasks.errors import ConfigurationError, LoadError
from tasks.loading import load

ALGORITHMS = {
    "fedadagrad": "algorithms.fedadagrad:FEDADAGRAD",
    "fedadam": "algorithms.fedadam:FEDADAM",
    "fedavg": "algorithms.fedavg:FEDAVG",
    "fedavgm": "algorithms.fedavgm:FEDAVGM",
    "feddyn": "algorithms.feddyn:FEDDYN",
    "fednova": "algorithms.fednova:FEDNOVA",
    "fedprox": "algorithms.fedprox:FEDPROX",
    "fedyogi": "algorithms.fedyogi:FEDYOGI",
    "mime": "algorithms.mime:MIME",
    "mimelite": "algorithms.mimelite:MIMELITE",
    "qfedavg": "algorithms.qfedavg:QFEDAVG",
    "scaffold": "algorithms.scaffold:SCAFFOLD",
}
"""Names at ``--algorithm``, and where each is."""

MAX_SENT = 3
"""Sets of arrays that may come with an update at the most: it bounds how long an update may be."""

__all__ = [
    "ALGORITHMS",
    "MAX_SENT",
    "Algorithm",
    "LocalResult",
    "LocalTask",
    "ServerRound",
    "Settings",
    "State",
    "UpdateInfo",
    "Weights",
    "by_examples",
    "equally",
    "load_algorithm",
    "settings_of",
    "take_target",
    "train_plainly",
]


def load_algorithm(spec: str) -> Algorithm:
    """Return an algorithm by name or ``module:name``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or isn't an algorithm.
    """
    found = load("algorithm", spec, ALGORITHMS)
    if not isinstance(found, Algorithm):
        raise LoadError(f"algorithm {spec!r} is {type(found).__name__}, not an algorithms.Algorithm")
    if len(found.sent) > MAX_SENT:
        raise LoadError(f"algorithm {spec!r} sends {len(found.sent)} sets of arrays: {MAX_SENT} are allowed")
    return found


def settings_of(algorithm: Algorithm, given: Mapping[str, float]) -> dict[str, float]:
    """Return the algorithm's settings: those that are given, and defaults for the rest.

    Raises:
        ConfigurationError: If it has no such setting, or the value is no number.
    """
    allowed = ", ".join(f"{name} ({default:g})" for name, default in sorted(algorithm.settings.items())) or "none"
    for name, value in given.items():
        if name not in algorithm.settings:
            raise ConfigurationError(f"--set {name}: {algorithm.name} has no such setting; it has {allowed}")
        if not math.isfinite(value):
            raise ConfigurationError(f"--set {name}={value}: a number is needed")
    return {**algorithm.settings, **given}
