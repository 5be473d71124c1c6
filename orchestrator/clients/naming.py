"""Clients in a line of a log: few by their ids, of many the first and how many more there are."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from itertools import islice
from typing import TypeVar

_NAMED = 3
T = TypeVar("T", bound=Hashable)


def named(client_ids: Collection[str]) -> str:
    """Return ``client anna``, or ``5 clients (anna, bert, carl and 2 more)``."""
    first = ", ".join(islice(client_ids, _NAMED))
    if len(client_ids) == 1:
        return f"client {first}"
    more = f" and {len(client_ids) - _NAMED} more" if len(client_ids) > _NAMED else ""
    return f"{len(client_ids)} clients ({first}{more})"


def client_field(client_ids: Collection[str]) -> dict[str, object]:
    """Return what a line of a log as JSON says of them beside its text (``extra``): the client, if it is one."""
    return {"client_id": next(iter(client_ids))} if len(client_ids) == 1 else {}


def by_what(told: Mapping[str, T]) -> Iterable[tuple[T, list[str]]]:
    """Return what is told, and of which clients: the reverse of what is told of each, by its id."""
    client_ids: dict[T, list[str]] = {}
    for client_id, what in told.items():
        client_ids.setdefault(what, []).append(client_id)
    return client_ids.items()
