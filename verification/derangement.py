"""Verification by peers: assigning each client another's update to score, and choosing the scores that count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class PeerScore:
    """A client's score of another client's update.

    Attributes:
        verifier_id: The client that scored.
        client_id: The client whose update it scored, by its own account.
        score: Higher is better.
    """

    verifier_id: str
    client_id: str
    score: float


def derangement(client_ids: Iterable[str], rng: np.random.Generator) -> dict[str, str]:
    """Assign each client another client's update to score: a random permutation without fixed points.

    All such permutations are equally likely: permutations are drawn until one has no fixed point, which takes e (2.7)
    draws on average, however many clients there are. The order of ``client_ids`` makes no difference.

    Args:
        client_ids: Clients whose updates are to be scored; they are the verifiers too.
        rng: Generator derived from the run's seed and the round. Advanced.

    Returns:
        From verifier to the client whose update it scores, sorted by verifier. Empty for fewer than two clients.

    Raises:
        ValueError: If an id is given twice.
    """
    ordered = sorted(client_ids)
    if len(set(ordered)) != len(ordered):
        raise ValueError(f"a client is given twice: {ordered}")
    if len(ordered) < 2:
        return {}
    places = np.arange(len(ordered))
    drawn = rng.permutation(len(ordered))
    while (drawn == places).any():
        drawn = rng.permutation(len(ordered))
    return {verifier: ordered[index] for verifier, index in zip(ordered, drawn, strict=True)}


def verifiers(assignment: Mapping[str, str]) -> dict[str, str]:
    """Return the verifier of each client's update: ``assignment`` inverted, sorted by client."""
    return {client_id: verifier_id for verifier_id, client_id in sorted(assignment.items(), key=lambda pair: pair[1])}


def scores_of_clients(assignment: Mapping[str, str], sent: Iterable[PeerScore]) -> dict[str, float]:
    """Return the scores that count, by client.

    The order in which scores arrive makes no difference. A score doesn't count if

    - its sender wasn't asked, or was given another update to score;
    - it is for the verifier's own update, whatever the assignment says;
    - it is NaN or infinite;
    - the same verifier sent a different score for the same update: then neither counts. The same score sent twice
      counts once.

    Args:
        assignment: From verifier to the client whose update it scores, as :func:`derangement` returns it.
        sent: All scores that arrived, in any order, from any sender.

    Returns:
        From client to score, sorted by client. A missing client is not scored.
    """
    found: dict[str, set[float]] = {}
    for score in sent:
        asked_for = assignment.get(score.verifier_id)
        if score.client_id == asked_for and score.client_id != score.verifier_id:
            found.setdefault(score.client_id, set()).add(score.score)
    agreed = {client_id: next(iter(scores)) for client_id, scores in sorted(found.items()) if len(scores) == 1}
    return {client_id: score for client_id, score in agreed.items() if math.isfinite(score)}
