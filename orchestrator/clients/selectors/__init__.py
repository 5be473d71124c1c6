"""Selectors, a file each: functions that choose a round's cohort from the connected clients."""

from __future__ import annotations

from typing import cast

from orchestrator.clients.selectors.selector import (
    ConnectedClient,
    Selection,
    Selector,
    fits,
)
from orchestrator.clients.statistics import ClientStatistics
from tasks.plugins import load_form

SELECTORS = {
    "connected": "orchestrator.clients.selectors.connected:select_connected",
    "random": "orchestrator.clients.selectors.uniform:select_uniform",
    "where": "orchestrator.clients.selectors.where:where",
    "power-of-choice": "orchestrator.clients.selectors.power_of_choice:power_of_choice",
    "oort": "orchestrator.clients.selectors.oort:select_oort",
}
"""Names for ``--select``, and where each is defined."""

FORMS = {"where": "where:CONDITIONS", "power-of-choice": "power-of-choice[:D]"}
"""Selectors with a parameter, and how to write it: each is defined as a function from the text after the colon, which
may be empty, to the selector."""

__all__ = [
    "FORMS",
    "SELECTORS",
    "ConnectedClient",
    "ClientStatistics",
    "Selection",
    "Selector",
    "fits",
    "load_selector",
]


def load_selector(spec: str) -> Selector:
    """Return a selector by name, ``name:parameter``, or ``module:function``; built-in names come before modules.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigurationError: If its parameter is wrong, or it takes none.
        LoadError: If it can't be imported or can't be called.
    """
    return cast(Selector, load_form("selector", spec, SELECTORS, FORMS))
