"""Selection of clients that are useful and fast: those with a high loss on many examples, and none too slow.

Lai, Zhu, Madhyastha, Chowdhury 2021, "Oort: Efficient Federated Learning via Guided Participant Selection" (OSDI 2021,
arXiv 2010.06081), Algorithm 1. Of the K clients of round R:

- *Exploration* (line 16): ceil(e K) are clients that have given no update yet, where e = 0.9 * 0.98^(R-1), and 0.2 at
  the least (section 7.1).
- *Exploitation* (lines 9-15): the others are drawn among those that have, in proportion to their utility
  Util(i) = (U(i) + sqrt(0.1 log R / L(i))) * (T / D(i))^2, the last factor only where T < D(i). Only those are drawn
  whose utility is at least 0.95 times that of the cut-off, the ((1 - e) K)-th highest. L(i) is the last round that
  client i took part in, D(i) how long it took then.

It differs from the paper in this:

- The statistical utility is |B_i| sqrt(mean of the squared losses) over the examples B_i of client i (section 4.2).
  Clients tell the mean of their losses and not that of the squares, so it is |B_i| times the mean loss: less for
  clients whose examples' losses differ much.
- U(i) is the statistical utility, clipped at the 95 % quantile (section 4.4) and divided by it, as the authors' program
  scales it, too: else the bonus for those that weren't chosen for long, below 1, would be nothing beside it.
- The preferred duration T is the median of the clients' last durations, where the paper's pacer (line 7) begins with
  a duration that the user sets, and raises it when utility falls off. A selector keeps nothing from round to round
  but the feedback, and seconds that suit every workload aren't known beforehand.
- Unexplored clients are drawn with equal chances, not by speed: nobody has seen it yet, and with training in one
  thread their processors tell little of it.
- Clients aren't barred after many rounds: with few clients, soon none would be left. Instead, those that failed rest
  (:meth:`orchestrator.feedback.Feedback.is_resting`) and are taken last.

Durations are times by the clients' clocks: two runs with one seed don't choose the same clients, unlike with the other
selectors. One run that goes on after it was killed does, as the durations are in its history. Losses, examples and
durations are the clients' own words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.feedback import Feedback
from orchestrator.selectors.drawing import draw
from orchestrator.selectors.selector import ConnectedClient, Selection

Floats = npt.NDArray[np.float64]

CLIP_QUANTILE = 0.95
CUT_OFF = 0.95
"""Share of the cut-off utility from which on clients are drawn: the paper's c."""
PENALTY = 2.0
"""Exponent of T / D(i): the paper's alpha."""
_FIRST_EXPLORATION, _DECAY, _LEAST_EXPLORATION = 0.9, 0.98, 0.2
_LARGEST_LOSS = 1e100
"""So that no claim of a client makes a utility infinite."""


def select_oort(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Return ``num_wanted`` clients, explored and unexplored ones; the order in which they connected is no matter."""
    unexplored, explored, resting = _groups(clients, selection)
    num = min(selection.num_wanted, len(clients))
    num_unexplored = min(_num_to_explore(num, selection.round_number), len(unexplored))
    num_explored = min(num - num_unexplored, len(explored))
    num_unexplored = min(num - num_explored, len(unexplored))
    utilities = utilities_of([selection.feedback[client_id] for client_id in explored], selection.round_number)
    chosen = _exploit(explored, utilities, num_explored, selection.rng)
    chosen += _at_random(unexplored, num_unexplored, selection.rng)
    return chosen + _at_random(resting, num - len(chosen), selection.rng)


def _groups(clients: Sequence[ConnectedClient], selection: Selection) -> tuple[list[str], list[str], list[str]]:
    """Return who has given no update yet, who has, and who rests after a failure, sorted."""
    unexplored, explored, resting = [], [], []
    for client_id in sorted(client.client_id for client in clients):
        known = selection.feedback.get(client_id, Feedback())
        if known.is_resting(selection.round_number):
            resting.append(client_id)
        elif known.num_accepted:
            explored.append(client_id)
        else:
            unexplored.append(client_id)
    return unexplored, explored, resting


def _num_to_explore(num: int, round_number: int) -> int:
    """Return how many of ``num`` clients are to be new ones: one at the least while there are any."""
    share = max(_FIRST_EXPLORATION * _DECAY ** (round_number - 1), _LEAST_EXPLORATION)
    return math.ceil(round(share * num, 9))


def utilities_of(explored: Sequence[Feedback], round_number: int) -> Floats:
    """Return the utility of each client that has given an update, as ``[len(explored)]``; none is negative.

    A client that told no loss has no statistical utility: what it has is the bonus.
    """
    if not explored:
        return np.zeros(0)
    losses = np.array([min(abs(known.train_loss or 0.0), _LARGEST_LOSS) for known in explored])
    statistical = losses * np.array([known.num_examples for known in explored], np.float64)
    bound = float(np.quantile(statistical, CLIP_QUANTILE))
    scaled = np.minimum(statistical, bound) / bound if bound > 0 else np.zeros(len(explored))
    bonus = np.sqrt(0.1 * math.log(round_number) / np.array([known.last_accepted for known in explored]))
    return np.asarray((scaled + bonus) * _slowness(np.array([known.duration_s for known in explored])), np.float64)


def _slowness(durations_s: Floats) -> Floats:
    """Return what utilities are multiplied by for duration: less than 1 for those slower than the median."""
    # The lower of two in the middle: a sum of two durations, which are the clients' words, could be infinite.
    preferred_s = float(np.quantile(durations_s, 0.5, method="lower"))
    factors = np.ones(len(durations_s))
    slow = durations_s > preferred_s
    factors[slow] = (preferred_s / durations_s[slow]) ** PENALTY
    return factors


def _exploit(client_ids: Sequence[str], utilities: Floats, num: int, rng: np.random.Generator) -> list[str]:
    """Return ``num`` clients, drawn by utility among those that are near the cut-off or above it."""
    if num == 0:
        return []
    cut_off = CUT_OFF * float(np.sort(utilities)[-num])
    admitted = [index for index, utility in enumerate(utilities) if utility >= cut_off]
    drawn = draw(rng, [float(utilities[index]) for index in admitted], num)
    return [client_ids[admitted[index]] for index in drawn]


def _at_random(client_ids: Sequence[str], num: int, rng: np.random.Generator) -> list[str]:
    return [client_ids[index] for index in draw(rng, [1.0] * len(client_ids), num)]
