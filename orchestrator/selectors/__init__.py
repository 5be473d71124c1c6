"""Selectors, a file each: functions that choose a round's cohort among the connected clients."""

from __future__ import annotations

from typing import cast

from orchestrator.selectors.selector import ConnectedClient, Selection, Selector, clients_needed, cohort_size
from tasks.errors import LoadError
from tasks.loading import load

SELECTORS = {
    "connected": "orchestrator.selectors.connected:select_connected",
    "random": "orchestrator.selectors.at_random:select_at_random",
}
"""Names at ``--select``, and where each is."""

__all__ = ["SELECTORS", "ConnectedClient", "Selection", "Selector", "clients_needed", "cohort_size", "load_selector"]


def load_selector(spec: str) -> Selector:
    """Return a selector by name or ``module:function``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or can't be called.
    """
    found = load("selector", spec, SELECTORS)
    if not callable(found):
        raise LoadError(f"selector {spec!r} is {type(found).__name__}, not a function")
    return cast(Selector, found)
