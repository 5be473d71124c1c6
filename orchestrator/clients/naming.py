"""Clients in a line of a log: few by their ids, of many the first and how many more there are."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from tasks.described import first_of

T = TypeVar("T", bound=Hashable)


def named(client_ids: Collection[str]) -> str:
    """Return ``client anna``, or ``5 clients (anna, bert, carl and 2 more)``."""
    first = first_of(client_ids)
    return f"client {first}" if len(client_ids) == 1 else f"{len(client_ids)} clients ({first})"


def client_field(client_ids: Collection[str]) -> dict[str, object]:
    """Return what a line of a log as JSON says of them beside its text (``extra``): the client, if it is one."""
    return {"client_id": next(iter(client_ids))} if len(client_ids) == 1 else {}


def by_what(told: Mapping[str, T]) -> Iterable[tuple[T, list[str]]]:
    """Return what is told, and of which clients: the reverse of what is told of each, by its id."""
    client_ids: dict[T, list[str]] = {}
    for client_id, what in told.items():
        client_ids.setdefault(what, []).append(client_id)
    return client_ids.items()
