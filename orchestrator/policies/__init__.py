"""Round policies, a file each: when orders go out, how long clients have, and when what has come is aggregated.

The driver asks the run's policy and knows none by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast

from orchestrator.config import RunConfig
from orchestrator.store.records import RoundRecord
from tasks.plugins import load_factory
from tasks.user_code import UserCodeError, user_code

POLICIES = {"synchronous": "orchestrator.policies.synchronous:Synchronous"}
"""Names for ``--policy``, and where each is defined: a class that is made of the run's config."""
_ASKED = ("least_connected", "num_wanted", "timeout_s", "newcomer_timeout_s", "note", "is_complete")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a round is.

    Attributes:
        num_open: Clients that are at work on their orders.
        num_updates: Clients whose updates have come.
        num_without: Clients that failed or were lost, and have sent none.
    """

    num_open: int
    num_updates: int
    num_without: int


class RoundPolicy(Protocol):
    """When a round opens and closes. An update counts for the round, and so the model version, of its order alone."""

    def least_connected(self) -> int:
        """Return the least number of connected clients with which a round can begin."""

    def num_wanted(self, num_connected: int) -> int:
        """Return how many clients get orders when a round opens, of so many that are connected."""

    def timeout_s(self) -> float:
        """Return the seconds that a client of the cohort has for its work."""

    def newcomer_timeout_s(self, left_s: float) -> float:
        """Return the seconds that a client has which comes when so many are left; 0: it isn't taken into the round."""

    def note(self, record: RoundRecord) -> None:
        """Take note of a round that is over: a policy may go by it. A run that goes on tells those before it anew."""

    def is_complete(self, progress: Progress) -> bool:
        """Say whether what has come is to be aggregated now; clients still at work have come too late then.

        It is asked after each response, and not before its deadline has every client without one counted as lost.
        """


def load_policy(spec: str, config: RunConfig) -> RoundPolicy:
    """Return a run's policy, built in or the user's own as ``module:name``.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported, or is no class with all of a policy's methods.
        UserCodeError: If it can't be made.
    """
    factory = load_factory("policy", spec, POLICIES, "RoundPolicy", _is_policy)
    with user_code(f"policy {spec!r}"):
        policy = cast(RoundPolicy, factory(config))
    return _Checked(spec, policy)


class _Checked:
    """A policy, maybe a user's own, whose exceptions and values are told as what they are."""

    def __init__(self, spec: str, policy: RoundPolicy) -> None:
        self._spec = spec
        self._policy = policy

    def least_connected(self) -> int:
        return self._count("least_connected")

    def num_wanted(self, num_connected: int) -> int:
        return self._count("num_wanted", num_connected)

    def timeout_s(self) -> float:
        return self._seconds("timeout_s")

    def newcomer_timeout_s(self, left_s: float) -> float:
        return self._seconds("newcomer_timeout_s", left_s, may_be_zero=True)

    def note(self, record: RoundRecord) -> None:
        self._ask("note", record)

    def is_complete(self, progress: Progress) -> bool:
        return bool(self._ask("is_complete", progress))

    def _ask(self, method: str, *arguments: object) -> object:
        with user_code(f"policy {self._spec!r}: {method}()"):
            found: object = getattr(self._policy, method)(*arguments)
        return found

    def _count(self, method: str, *arguments: object) -> int:
        found = self._ask(method, *arguments)
        if isinstance(found, int) and found >= 0:
            return found
        raise self._wrong(method, found, "whole numbers of clients")

    def _seconds(self, method: str, *arguments: object, may_be_zero: bool = False) -> float:
        found = self._ask(method, *arguments)
        if isinstance(found, int | float) and (0 < found < math.inf or (may_be_zero and found == 0)):
            return float(found)
        raise self._wrong(method, found, "seconds from 0 on" if may_be_zero else "seconds of more than 0")

    def _wrong(self, method: str, found: object, allowed: str) -> UserCodeError:
        return UserCodeError(f"policy {self._spec!r}: {method}() returned {found!r}: {allowed} are needed")


def _is_policy(kind: object) -> bool:
    return isinstance(kind, type) and all(callable(getattr(kind, name, None)) for name in _ASKED)
