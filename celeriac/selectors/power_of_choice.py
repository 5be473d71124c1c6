"""Selection of the clients with the highest loss among randomly drawn candidates.

Cho, Wang, Joshi 2020, "Client Selection in Federated Learning: Convergence Analysis and Power-of-Choice Selection
Strategies" (arXiv 2010.01243), section 4, the variant rpow-d: it uses the mean loss of each candidate's last training.
Asking candidates for the loss of the current model would cost a message to each.

1. Draw a set of d candidates without replacement, client k in proportion to its share p_k of the examples.
2. Look up each candidate's latest loss; it is infinite for a client without one, so that every client is tried.
3. The m candidates with the highest losses are the cohort.

A larger d favours clients with a high loss; d = m is a random choice by examples. Here d is 2m by default. The paper
takes the plain mean of the updates, because the draw has already counted examples; ``fedavg`` weighs by examples again.

Losses and numbers of examples are the clients' own claims: a client that claims a high loss is chosen more often.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from celeriac.selectors import ConnectedClient, Selection, Selector
from celeriac.selectors.client_statistics import ClientStatistics
from celeriac.selectors.weighted_sampling import draw
from tasks.errors import ConfigurationError

_NUMBER = re.compile(r"0*[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PowerOfChoice:
    """The selector; ``num_candidates`` is d, None for twice the wanted clients."""

    num_candidates: int | None = None

    def __call__(self, clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
        """Return the ``num_wanted`` candidates with the highest latest loss; of equal losses the first drawn win."""
        num_candidates = self.num_candidates or 2 * selection.num_wanted
        ordered = sorted(clients, key=lambda client: client.client_id)
        weights = [client.announcement.num_examples for client in ordered]
        drawn = draw(selection.rng, weights, max(num_candidates, selection.num_wanted))
        candidates = [ordered[index].client_id for index in drawn]
        candidates.sort(key=lambda client_id: _rank(client_id, selection), reverse=True)
        return candidates[: selection.num_wanted]


def _rank(client_id: str, selection: Selection) -> tuple[bool, float]:
    """Return a candidate's sort key: the loss, and before it whether the client isn't resting after a failure."""
    known = selection.statistics.get(client_id, ClientStatistics())
    return not known.is_resting(selection.round_number), _latest_loss(known)


def _latest_loss(known: ClientStatistics) -> float:
    """Return the latest loss: infinite before the first update, minus infinity if a client reports none."""
    if known.num_accepted == 0:
        return math.inf
    return -math.inf if known.train_loss is None else known.train_loss


def power_of_choice(parameter: str) -> Selector:
    """Return the selector for the text after the colon: d, or empty for twice the wanted clients.

    Raises:
        ConfigurationError: If the text is neither empty nor a whole number from 1.
    """
    if parameter and not _NUMBER.fullmatch(parameter):
        raise ConfigurationError(
            f"selector 'power-of-choice:{parameter}': after the colon stands how many candidates are drawn, "
            "a whole number from 1, as in power-of-choice:20"
        )
    return PowerOfChoice(int(parameter) if parameter else None)
