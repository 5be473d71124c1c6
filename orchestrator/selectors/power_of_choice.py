"""Selection of the clients that the model is worst for: draw some candidates, take those with the highest loss.

Cho, Wang, Joshi 2020, "Client Selection in Federated Learning: Convergence Analysis and Power-of-Choice Selection
Strategies" (arXiv 2010.01243), section 4, the variant rpow-d: rather than asking the candidates for the loss of the
present model, which would cost a message to each, it goes by the mean loss of each one's last training.

1. A set of d candidates is drawn without replacement, client k in proportion to its share p_k of the examples.
2. Of each the latest loss is looked up; it is infinite for a client that was never asked, so that all are tried.
3. The m candidates with the highest losses are the cohort.

The larger d is, the more the selection is for clients with a high loss: d = m is a random choice by examples. Here d
is 2m if it isn't given. The paper takes the plain mean of the updates, the draw having counted examples already;
``fedavg`` weighs by examples once more.

Losses and numbers of examples are the clients' own words: a client that claims a high loss is chosen more often.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.feedback import Feedback
from orchestrator.selectors.drawing import draw
from orchestrator.selectors.selector import ConnectedClient, Selection, Selector
from tasks.errors import ConfigurationError

_NUMBER = re.compile(r"0*[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PowerOfChoice:
    """The selector, with its d: ``num_candidates``, None for twice the clients that are wanted."""

    num_candidates: int | None = None

    def __call__(self, clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
        """Return the ``num_wanted`` candidates with the highest latest loss, of equal ones those drawn first."""
        num_candidates = self.num_candidates or 2 * selection.num_wanted
        ordered = sorted(clients, key=lambda client: client.client_id)
        weights = [client.announcement.num_examples for client in ordered]
        drawn = draw(selection.rng, weights, max(num_candidates, selection.num_wanted))
        candidates = [ordered[index].client_id for index in drawn]
        candidates.sort(key=lambda client_id: _rank(client_id, selection), reverse=True)
        return candidates[: selection.num_wanted]


def _rank(client_id: str, selection: Selection) -> tuple[bool, float]:
    """Return what candidates are ordered by: those that rest after a failure come last, else it is the loss."""
    known = selection.feedback.get(client_id, Feedback())
    return not known.is_resting(selection.round_number), _latest_loss(known)


def _latest_loss(known: Feedback) -> float:
    """Return the latest loss: infinite before the first update, and the least there is if a client tells none."""
    if known.num_accepted == 0:
        return math.inf
    return -math.inf if known.train_loss is None else known.train_loss


def power_of_choice(parameter: str) -> Selector:
    """Return the selector with d as it is written; empty for twice the clients that are wanted.

    Raises:
        ConfigurationError: If it is no whole number from 1.
    """
    if parameter and not _NUMBER.fullmatch(parameter):
        raise ConfigurationError(
            f"selector 'power-of-choice:{parameter}': after the colon stands how many candidates are drawn, "
            "a whole number from 1, as in power-of-choice:20"
        )
    return PowerOfChoice(int(parameter) if parameter else None)
