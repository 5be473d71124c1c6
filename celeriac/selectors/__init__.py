"""Selectors, a file each: functions that choose a round's cohort from the connected clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from celeriac.selectors.client_statistics import ClientStatistics
from tasks.announcement import DETAILS, Announcement
from tasks.errors import ConfigurationError
from tasks.plugins import load_form, near_name

SELECTORS = {
    "connected": "celeriac.selectors.connected:select_connected",
    "random": "celeriac.selectors.uniform:select_uniform",
    "where": "celeriac.selectors.where:where",
    "power-of-choice": "celeriac.selectors.power_of_choice:power_of_choice",
    "oort": "celeriac.selectors.oort:select_oort",
}
"""Names for ``--select``, and where each is defined."""

FORMS = {"where": "where:CONDITIONS", "power-of-choice": "power-of-choice[:D]"}
"""Selectors with a parameter, and how to write it: each is defined as a function from the text after the colon, which
may be empty, to the selector."""


@dataclass(frozen=True, slots=True)
class ConnectedClient:
    """A connected client, and its announcement: how many examples, and the details that the selector needs."""

    client_id: str
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class Selection:
    """Input to a selector beside the clients.

    Attributes:
        round_number: The round that the cohort is for; the first is 1.
        num_wanted: How many clients the cohort should have.
        rng: Generator derived from the run's seed and the round.
        statistics: Statistics of clients from the run's former rounds, by client id. Clients never asked are missing;
            clients that have left are still there.
        num_needed: Updates that the round needs: with fewer clients it can't succeed.
    """

    round_number: int
    num_wanted: int
    rng: np.random.Generator
    statistics: Mapping[str, ClientStatistics] = field(default_factory=dict)
    num_needed: int = 1


_NAMES = ", ".join(DETAILS)

Selector = Callable[[Sequence[ConnectedClient], Selection], Sequence[str]]
"""From the connected clients, in the order in which they connected, to the ids of the cohort.

A selector that raises :class:`tasks.errors.TooFewFitError` is called again when other clients may have connected. If it
has a method ``fits(client)``, this also decides which clients may join an open round. If it has ``needs``, names of
``DETAILS``, clients announce these, unless their site forbids it; without it they announce none.
"""


def load_selector(spec: str) -> Selector:
    """Return a selector by name, ``name:parameter``, or ``module:function``; see :func:`tasks.plugins.load_form`.

    Raises:
        ConfigurationError: If there is no such selector, or its ``needs`` aren't names of details.
    """
    selector: Selector = load_form("selector", spec, known=SELECTORS, forms=FORMS)
    declared: object = getattr(selector, "needs", ())
    if isinstance(declared, str) or not isinstance(declared, Iterable):
        raise ConfigurationError(f"selector {spec!r}: needs is {declared!r:.100}: a set of names is needed: {_NAMES}")
    for name in declared:
        if name not in DETAILS:
            raise ConfigurationError(f"selector {spec!r}: needs has {name!r:.100}: {near_name(str(name), DETAILS)}")
    return selector


def needs(selector: Selector) -> tuple[str, ...]:
    """Return the details that a selector looks at in announcements, in the order of ``DETAILS``."""
    declared: Iterable[str] = getattr(selector, "needs", ())
    return tuple(name for name in DETAILS if name in set(declared))


def fits(selector: Selector, client: ConnectedClient) -> bool:
    """Say whether the selector might choose a client that joins later; without a ``fits`` of its own, any."""
    own = getattr(selector, "fits", None)
    return own is None or bool(own(client))
