"""Why rounds failed: what most of their clients failed of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.records import ACCEPTED, RoundRecord
from tasks.messages import Status
from tasks.user_code import SEE_LOG

MAX_REASON = 240
"""Characters of a reason that are told: its beginning, and its end, which says where in the user's code it was."""
_END = 100


def why_rounds_failed(records: Sequence[RoundRecord], log_of: Callable[[str], str]) -> str:
    """Return what most clients failed of in these rounds, of how many that is true, and where to look; it may be empty.

    Of reasons that as many clients have, it is the first by the rounds' order and the clients' ids.

    Args:
        records: The rounds, in their order.
        log_of: Returns where a client's log is.
    """
    clients_by_reason: dict[str, set[str]] = {}
    rejected: set[str] = set()
    for record in records:
        for client_id, answer in sorted(record.answers.items()):
            if answer.status not in ACCEPTED:
                reason = answer.reason.removesuffix(SEE_LOG) or answer.status.value
                clients_by_reason.setdefault(reason, set()).add(client_id)
                if answer.status is Status.REJECTED:
                    rejected.add(reason)
    if not clients_by_reason:
        return ""
    reason, clients = max(clients_by_reason.items(), key=lambda pair: len(pair[1]))
    num_clients = len({client_id for record in records for client_id in record.cohort})
    where = "" if reason in rejected else f"; see {log_of(min(clients))}"
    return f"{len(clients)} of {num_clients} clients: {_shortened(reason)}{where}"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - _END]}…{text[-_END:]}"
