"""Why rounds failed: what most of their clients failed of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orchestrator.store.records import ACCEPTED, RoundRecord, SlotRecord
from tasks.messages import Status
from tasks.user_code import SEE_LOG

MAX_REASON = 240
"""Characters of a reason that are told: its beginning, and its end, which says where in the user's code it was."""
_END = 100


def why_rounds_failed(records: Sequence[RoundRecord], log_of: Callable[[str], str]) -> str:
    """Return what most clients failed of in these rounds, how many they were, and where to look; it may be empty.

    Reasons that differ in their numbers alone (a score, an index) are one. Of those, and of reasons that as many
    clients have, the first by the rounds' order and the clients' ids is told.

    Args:
        records: The rounds, in their order.
        log_of: Returns where a client's log is.
    """
    failures = [
        (client_id, response)
        for record in records
        for client_id, response in sorted(record.responses.items())
        if response.status not in ACCEPTED
    ]
    clients: dict[str, set[str]] = {}
    for client_id, response in failures:
        clients.setdefault(_kind(response), set()).add(client_id)
    if not failures:
        return ""
    most = max(clients, key=lambda kind: len(clients[kind]))
    first, response = next((client_id, response) for client_id, response in failures if _kind(response) == most)
    num_clients = len({client_id for record in records for client_id in record.cohort})
    where = "" if response.status is Status.REJECTED else f"; see {log_of(first)}"
    return f"{len(clients[most])} of {num_clients} clients, like {first}: {_shortened(_reason(response))}{where}"


def _reason(response: SlotRecord) -> str:
    return response.reason.removesuffix(SEE_LOG) or response.status.value


def _kind(response: SlotRecord) -> str:
    return re.sub(r"\d[\d.]*", "#", _reason(response))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - _END]}…{text[-_END:]}"
