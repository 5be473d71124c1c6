"""Clients that fill the broker take no further part in the run."""

from __future__ import annotations

from orchestrator.driver.context import RunContext
from orchestrator.store.facts import RESULTS
from orchestrator.store.updates import most_of_client
from tasks import results


def expel_hoarders(context: RunContext, last_round: int) -> None:
    """Have what clients put beside their updates removed, and expel those who have too much there.

    Args:
        context: The run's.
        last_round: The last round that is closed; as long as there is no model, nobody has an update.
    """
    for client_id, reason in context.services.cut_off_overbearing().items():
        context.manager.expel(client_id, reason)
    path = context.folder.checkpoint(last_round)
    if not path.exists():
        return
    results_bytes = results.most_bytes(RESULTS.of(context.folder))
    most_bytes = most_of_client(path.stat().st_size, len(context.algorithm.sent), results_bytes)
    for client_id, size_bytes in context.services.remove_strays(most_bytes).items():
        reason = f"it put {size_bytes} bytes at the broker: {most_bytes} are allowed"
        context.services.cut_off(client_id, reason)
        context.manager.expel(client_id, reason)
