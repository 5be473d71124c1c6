"""Federated algorithms, a file each; an algorithm is pure functions over frozen state."""

from __future__ import annotations

from orchestrator.algorithms.algorithm import Algorithm
from tasks.errors import LoadError
from tasks.loading import load

ALGORITHMS = {"fedavg": "orchestrator.algorithms.fedavg:FEDAVG"}
"""Names at ``--algorithm``, and where each is."""

__all__ = ["ALGORITHMS", "Algorithm", "load_algorithm"]


def load_algorithm(spec: str) -> Algorithm:
    """Return an algorithm by name or ``module:name``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or isn't an algorithm.
    """
    found = load("algorithm", spec, ALGORITHMS)
    if not isinstance(found, Algorithm):
        raise LoadError(f"algorithm {spec!r} is {type(found).__name__}, not an orchestrator.algorithms.Algorithm")
    return found
