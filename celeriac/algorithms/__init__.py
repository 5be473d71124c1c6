"""Federated algorithms, a file each: the client's part and the orchestrator's, pure functions over frozen state."""

from __future__ import annotations

import math
from collections.abc import Mapping

from celeriac.algorithms.algorithm import (
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
from tasks.plugins import load
from tasks.workload import Workload, can_train_along

ALGORITHMS = {
    "fedadagrad": "celeriac.algorithms.fedadagrad:FEDADAGRAD",
    "fedadam": "celeriac.algorithms.fedadam:FEDADAM",
    "fedavg": "celeriac.algorithms.fedavg:FEDAVG",
    "fedavgm": "celeriac.algorithms.fedavgm:FEDAVGM",
    "feddyn": "celeriac.algorithms.feddyn:FEDDYN",
    "fednova": "celeriac.algorithms.fednova:FEDNOVA",
    "fedprox": "celeriac.algorithms.fedprox:FEDPROX",
    "fedyogi": "celeriac.algorithms.fedyogi:FEDYOGI",
    "mime": "celeriac.algorithms.mime:MIME",
    "mimelite": "celeriac.algorithms.mimelite:MIMELITE",
    "qfedavg": "celeriac.algorithms.qfedavg:QFEDAVG",
    "scaffold": "celeriac.algorithms.scaffold:SCAFFOLD",
}
"""Names for ``--algorithm``, and where each is defined."""

MAX_SENT = 3
"""Most sets of arrays that an update or a first exchange may carry; it bounds their size."""

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
    "check_weighting",
    "check_workload",
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
    if (most := max(len(found.sent), len(found.surveyed))) > MAX_SENT:
        raise LoadError(f"algorithm {spec!r} sends {most} sets of arrays: {MAX_SENT} are allowed")
    if any("/" in kind for kind in (*found.sent, *found.broadcast, *found.surveyed)):
        raise LoadError(f"algorithm {spec!r}: the name of a set of arrays can't have a '/' in it")
    if (found.survey is None) != (not found.surveyed):
        raise LoadError(f"algorithm {spec!r} has one of survey and surveyed: both are needed, or neither")
    if both := sorted(set(found.surveyed) & set(found.broadcast)):
        raise LoadError(f"algorithm {spec!r}: the set {both[0]!r} is both in surveyed and in broadcast")
    return found


def check_workload(algorithm: Algorithm, workload: Workload) -> None:
    """Check that a workload has the methods that the algorithm's client part calls.

    Raises:
        ConfigurationError: If it lacks one.
    """
    name = type(workload).__name__
    if "train_along" in algorithm.needs and not can_train_along(workload):
        raise ConfigurationError(
            f"algorithm {algorithm.name!r} changes the clients' training steps, and workload {name} has no "
            "train_along() to its train(): see docs/algorithms.md"
        )
    if "gradients" in algorithm.needs and type(workload).gradients is Workload.gradients:
        raise ConfigurationError(
            f"algorithm {algorithm.name!r} asks clients for their gradients, and workload {name} has no gradients(): "
            "see docs/algorithms.md"
        )


def check_weighting(algorithm: Algorithm, weighting: str) -> None:
    """Check that an algorithm allows this ``--weighting``.

    Raises:
        ConfigurationError: If the weighting is by steps, and the algorithm normalises by steps itself or has state that
            depends on equal weights.
    """
    if weighting != "steps":
        return
    if algorithm.weighs_steps:
        raise ConfigurationError(f"{algorithm.name} normalises by steps itself: leave out --weighting steps")
    if algorithm.weigh is equally:
        raise ConfigurationError(
            f"{algorithm.name} counts every update the same, and its state goes by that: leave out --weighting steps"
        )


def settings_of(algorithm: Algorithm, given: Mapping[str, float]) -> dict[str, float]:
    """Return the algorithm's settings: the given ones, and defaults for the rest.

    Raises:
        ConfigurationError: If it has no such setting, or a value is out of range.
    """
    allowed = ", ".join(f"{name} ({default:g})" for name, default in sorted(algorithm.settings.items())) or "none"
    for name, value in given.items():
        if name not in algorithm.settings:
            raise ConfigurationError(f"--set {name}: {algorithm.name} has no such setting; it has {allowed}")
        if not (math.isfinite(value) and value >= 0):
            raise ConfigurationError(f"--set {name}={value:g}: numbers from 0 are allowed")
        if value == 0 and name in algorithm.positive:
            raise ConfigurationError(f"--set {name}=0: numbers over 0 are allowed, {algorithm.name} divides by it")
    return {**algorithm.settings, **given}
