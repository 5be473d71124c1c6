"""What the clients of one process share: the global model, and what is sent along with it, fetched once a round.

The orders of a round that has two exchanges share it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.arrays import Arrays


@dataclass(frozen=True, slots=True)
class Fetched:
    """Arrays that came with an order.

    Attributes:
        arrays: What all of this process read: read-only, and for nobody who might write to them all the same.
        own: Returns arrays like them in memory of their own: what users' code is given.
    """

    arrays: Arrays
    own: Callable[[], Arrays]


_latest: dict[str, tuple[str, Fetched]] = {}


def shared(kind: str, digest: str, fetch: Callable[[], Fetched]) -> Fetched:
    """Return what is known by ``digest``: what was fetched last, or else what ``fetch`` returns.

    Of each kind the last are kept, and let go before others are fetched, so that memory holds one of each.
    """
    found = _latest.get(kind)
    if found is not None and found[0] == digest:
        return found[1]
    found = None
    _latest.pop(kind, None)
    fetched = fetch()
    _latest[kind] = digest, fetched
    return fetched


def forget_shared() -> None:
    """Let go of what is kept."""
    _latest.clear()
