"""Random selection among the clients whose announcement fits.

``where:labels=3+7,min-examples=100,min-cpus=4,min-memory-gb=8``: all given conditions must hold, in any order.

=================  ===================================================================================
``labels``         has examples of each of these labels; labels with ``+`` or ``,`` in them can't be named
``min-examples``   has at least this many training examples
``min-cpus``       may use at least this many processors
``min-memory-gb``  its machine has at least this many GB (10**9 bytes) of memory
=================  ===================================================================================

No character in it needs quoting in a shell, as ``>`` or ``|`` would. Of the details that clients may announce, the
selector needs those that its conditions are about.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celeriac.selectors import ConnectedClient, Selection, Selector
from celeriac.selectors.uniform import select_uniform
from tasks.announcement import Announcement
from tasks.errors import ConfigurationError, TooFewFitError

Condition = Callable[[Announcement], bool]

_WHOLE = re.compile(r"0*[1-9][0-9]{0,11}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)
_BYTES_PER_GB = 10**9


@dataclass(frozen=True, slots=True)
class Where:
    """The selector.

    Attributes:
        text: The conditions, as the user wrote them.
        conditions: What must all hold.
        needs: The details that they are about.
    """

    text: str
    conditions: tuple[Condition, ...]
    needs: frozenset[str] = frozenset()

    def fits(self, client: ConnectedClient) -> bool:
        """Say whether all conditions hold for a client."""
        return all(holds(client.announcement) for holds in self.conditions)

    def __call__(self, clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
        """Return ``num_wanted`` random clients among all that fit, or all of them if there are fewer.

        Raises:
            TooFewFitError: If fewer clients fit than a round needs.
        """
        fitting = [client for client in clients if self.fits(client)]
        if len(fitting) < selection.num_needed:
            raise TooFewFitError(len(fitting), len(clients), self.text, selection.num_needed)
        return select_uniform(fitting, selection)


def where(parameter: str) -> Selector:
    """Return the selector for the conditions after the colon.

    Raises:
        ConfigurationError: If a condition is unknown, given twice, or has a wrong value.
    """
    named: dict[str, Condition] = {}
    for part in parameter.split(","):
        name, _, value = part.strip().partition("=")
        if name not in _CONDITIONS:
            near = difflib.get_close_matches(name, _CONDITIONS, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise _error(parameter, f"unknown condition {name!r}: {guess}allowed are {_ALLOWED}")
        if name in named:
            raise _error(parameter, f"{name} stands there twice")
        condition = _CONDITIONS[name](value)
        if condition is None:
            raise _error(parameter, f"{name} can't be {value!r}: allowed are {_ALLOWED}")
        named[name] = condition
    needs = frozenset(_NEEDS[name] for name in named if name in _NEEDS)
    return Where(f"where:{parameter}", tuple(named.values()), needs)


def _labels(value: str) -> Condition | None:
    labels = value.split("+")
    return (lambda said: all(said.labels.get(label, 0) > 0 for label in labels)) if all(labels) else None


def _min_examples(value: str) -> Condition | None:
    if not _WHOLE.fullmatch(value):
        return None
    least = int(value)
    return lambda said: said.num_examples >= least


def _min_cpus(value: str) -> Condition | None:
    if not _WHOLE.fullmatch(value):
        return None
    least = int(value)
    return lambda said: said.hardware.num_cpus >= least


def _min_memory_gb(value: str) -> Condition | None:
    if not _DECIMAL.fullmatch(value) or float(value) <= 0:
        return None
    num_bytes = round(float(value) * _BYTES_PER_GB)
    return lambda said: said.hardware.memory_bytes >= num_bytes


_CONDITIONS: dict[str, Callable[[str], Condition | None]] = {
    "labels": _labels,
    "min-examples": _min_examples,
    "min-cpus": _min_cpus,
    "min-memory-gb": _min_memory_gb,
}
_NEEDS = {"labels": "labels", "min-cpus": "num_cpus", "min-memory-gb": "memory_bytes"}
"""Condition -> the detail that it is about."""
_ALLOWED = "labels=A+B, min-examples=100, min-cpus=4 and min-memory-gb=8, separated by commas"


def _error(parameter: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"selector 'where:{parameter}': {problem}")
