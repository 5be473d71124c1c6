"""What the clients of one process share: the global model, and what is sent along with it, fetched once a round.

The orders of a round that has two exchanges share it too.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks.arrays import Arrays

_latest: dict[str, tuple[str, Arrays]] = {}


def shared(kind: str, digest: str, fetch: Callable[[], Arrays]) -> Arrays:
    """Return arrays that are known by ``digest``: those that were fetched last, or else what ``fetch`` returns.

    Of each kind the last are kept, and let go before others are fetched, so that memory holds one of each.
    """
    found = _latest.get(kind)
    if found is not None and found[0] == digest:
        return found[1]
    found = None
    _latest.pop(kind, None)
    arrays = fetch()
    _latest[kind] = digest, arrays
    return arrays


def forget_shared() -> None:
    """Let go of what is kept."""
    _latest.clear()
