"""Clients in a line of a log: few by their ids, of many the first and how many more there are."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

_NAMED = 3


def named(client_ids: Collection[str]) -> str:
    """Return ``client anna``, or ``5 clients (anna, bert, carl and 2 more)``."""
    first = ", ".join(islice(client_ids, _NAMED))
    if len(client_ids) == 1:
        return f"client {first}"
    more = f" and {len(client_ids) - _NAMED} more" if len(client_ids) > _NAMED else ""
    return f"{len(client_ids)} clients ({first}{more})"
