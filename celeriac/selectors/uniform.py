"""Uniform random selection without replacement."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.selectors import ConnectedClient, Selection


def select_uniform(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Return ``num_wanted`` clients, sorted; the order in which they connected makes no difference."""
    client_ids = sorted(client.client_id for client in clients)
    chosen = selection.rng.choice(len(client_ids), size=min(selection.num_wanted, len(client_ids)), replace=False)
    return [client_ids[index] for index in sorted(chosen)]
