"""Round policies, a file each: when orders go out, how long clients have, and when what has come is aggregated.

The driver asks the run's policy and knows none by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from orchestrator.config import RunConfig
from orchestrator.store.records import RoundRecord
from tasks.plugins import load_factory

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
    """
    factory = load_factory("policy", spec, POLICIES, "RoundPolicy", _is_policy)
    return cast(RoundPolicy, factory(config))


def _is_policy(kind: object) -> bool:
    return isinstance(kind, type) and all(callable(getattr(kind, name, None)) for name in _ASKED)
