"""The peers' verification: clients score each other's updates on their own data.

A derangement says who scores whose, so that no update returns to its trainer, and what is handed out doesn't tell whose
it is. An update whose verifier fails or vanishes is given to another, once; one that nobody scored then is not taken.
With a single update there is nobody to ask, and peers don't judge it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from orchestrator.clients.naming import by_what, client_field, named
from orchestrator.driver.context import RunContext
from orchestrator.driver.orders import for_study, make_order, time_limits
from orchestrator.store.records import PeerScores
from tasks import arrays, auxiliary
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.messages import Status
from tasks.orders.verify import VerifyOrder
from tasks.seeds import generator
from verification.derangement import PeerScore, derangement, scores_of_clients

logger = logging.getLogger(__name__)


def ask_peers(context: RunContext, round_number: int, handed_out: Mapping[str, BlobRef]) -> PeerScores:
    """Have the clients whose updates were handed out score each other's, and take what was handed out back."""
    rng = generator(context.config.seed, round_number, "peers")
    assignment = derangement(handed_out, rng)
    scores = _ask(context, round_number, handed_out, assignment, attempt=1)
    scored_by = {client_id: verifier for verifier, client_id in assignment.items()}
    unscored = sorted(handed_out.keys() - scores.keys())
    verifiers = sorted(scored_by[client_id] for client_id in scores)
    again = _others(unscored, verifiers)
    if again:
        scores |= _ask(context, round_number, handed_out, again, attempt=2)
        scored_by |= {client_id: verifier for verifier, client_id in again.items()}
    context.services.blobs.discard_matching([context.scope.all_handed_out])
    is_alone = len(handed_out) == 1
    if is_alone:
        [trainer] = handed_out
        logger.warning("round %d: no peer can score the update of %s: none is asked", round_number, named([trainer]))
    return PeerScores(is_alone=is_alone, scores=scores, scored_by=scored_by)


def _hand_out_again(context: RunContext, round_number: int, handed_out: Mapping[str, BlobRef]) -> None:
    """Put the updates that were handed out on a broker that has forgotten them, as the verification did."""
    for client_id, ref in handed_out.items():
        parameters, _ = auxiliary.split(arrays.map_file(context.folder.update(round_number, client_id)))
        blob.publish(context.services.blobs, ref.name, arrays.encode(parameters))


def _others(unscored: list[str], verifiers: list[str]) -> dict[str, str]:
    """Return who of those that do answer scores what wasn't scored: one each, nobody its own."""
    free = list(verifiers)
    assignment = {}
    for client_id in unscored:
        verifier = next((candidate for candidate in free if candidate != client_id), None)
        if verifier is not None:
            free.remove(verifier)
            assignment[verifier] = client_id
    return assignment


def _ask(
    context: RunContext,
    round_number: int,
    handed_out: Mapping[str, BlobRef],
    assignment: Mapping[str, str],
    attempt: int,
) -> dict[str, float]:
    limits = time_limits(context, context.config.timeout_s, assignment)
    orders = [
        make_order(
            context,
            VerifyOrder,
            verifier,
            round_number,
            limits,
            version=str(attempt),
            parameters=handed_out[client_id],
            attempt=attempt,
            **for_study(context, verifier, round_number, len(assignment)),
        )
        for verifier, client_id in assignment.items()
    ]
    restore = partial(_hand_out_again, context, round_number, handed_out)
    responses = context.collector.ask(orders, limits.total_s, restore)
    bad = {each.client_id: f"{each.status}: {each.reason}" for each in responses if each.status is not Status.SCORED}
    for what, client_ids in by_what(bad):
        logger.warning(
            "round %d: %s gave no score: %s", round_number, named(client_ids), what, extra=client_field(client_ids)
        )
    sent = [
        PeerScore(response.client_id, assignment[response.client_id], response.metrics["score"])
        for response in responses
        if response.status is Status.SCORED and "score" in response.metrics
    ]
    return scores_of_clients(assignment, sent)
