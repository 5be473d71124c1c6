"""Who scores whose update where clients verify each other, and which of the scores they send back count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class PeerScore:
    """What a client says about another client's update.

    Attributes:
        verifier_id: Who scored.
        client_id: Whose update was scored, as the verifier says.
        score: Higher is better.
    """

    verifier_id: str
    client_id: str
    score: float


def derangement(client_ids: Iterable[str], rng: np.random.Generator) -> dict[str, str]:
    """Return who scores whose update: a permutation of the clients in which nobody has its own.

    Each such permutation is as likely as any other: permutations are drawn until one is, which takes e (2.7) on
    average, however many clients there are. The ids are sorted first, so that the order in which they are given makes
    no difference.

    Args:
        client_ids: Whose updates are to be scored; they are the verifiers too.
        rng: Generator derived from the run's seed and the round. Advanced.

    Returns:
        From verifier to the client whose update it scores, sorted by verifier. Two clients score each other; one
        client has nobody to score it: the result is empty, as it is of no clients.

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
    """Return by whom each client's update is scored: ``assignment`` the other way round, sorted by client."""
    return {client_id: verifier_id for verifier_id, client_id in sorted(assignment.items(), key=lambda pair: pair[1])}


def scores_of_clients(assignment: Mapping[str, str], sent: Iterable[PeerScore]) -> dict[str, float]:
    """Return the score of each client's update, of those that were scored.

    The order in which scores arrive makes no difference. Scores don't count that

    - come from somebody who wasn't asked, or are of another update than the one that the verifier was given;
    - are of the verifier's own update, whatever the assignment says;
    - are NaN or infinite;
    - contradict another score of the same verifier for the same update: of two that differ neither counts, while the
      same score sent twice counts once.

    Args:
        assignment: From verifier to the client whose update it scores, as :func:`derangement` returns it.
        sent: What arrived, in any order, from anybody.

    Returns:
        From client to score, sorted by client. Who is missing is not scored.
    """
    found: dict[str, set[float]] = {}
    for score in sent:
        asked_for = assignment.get(score.verifier_id)
        if score.client_id == asked_for and score.client_id != score.verifier_id:
            found.setdefault(score.client_id, set()).add(score.score)
    agreed = {client_id: next(iter(scores)) for client_id, scores in sorted(found.items()) if len(scores) == 1}
    return {client_id: score for client_id, score in agreed.items() if math.isfinite(score)}
