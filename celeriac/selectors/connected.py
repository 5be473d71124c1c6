"""Selection by connection order."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.selectors import ConnectedClient, Selection


def select_connected(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Return the ``num_wanted`` clients that have been connected longest."""
    return [client.client_id for client in clients[: selection.num_wanted]]
