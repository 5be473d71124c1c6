"""Selection of useful and fast clients: a high loss on many examples, and a short training time.

Lai, Zhu, Madhyastha, Chowdhury 2021, "Oort: Efficient Federated Learning via Guided Participant Selection" (OSDI 2021,
arXiv 2010.06081), Algorithm 1. Of the K clients of round R:

- *Exploration* (line 16): ceil(e K) are unexplored clients, without an update so far, where e = 0.9 * 0.98^(R-1), but
  at least 0.2 (section 7.1).
- *Exploitation* (lines 9-15): the others are drawn among the explored clients in proportion to their utility
  Util(i) = (U(i) + sqrt(0.1 log R / L(i))) * (T / D(i))^2, the last factor only where T < D(i). Only clients with at
  least 0.95 times the cut-off utility, the ((1 - e) K)-th highest, are drawn. L(i) is the last round in which client i
  took part, D(i) its duration then.

It differs from the paper as follows:

- The paper's statistical utility is |B_i| sqrt(mean of the squared losses) over the examples B_i of client i (section
  4.2). Clients here report the mean loss, not the mean of the squares, so it is |B_i| times the mean loss: less for
  clients whose losses vary a lot between examples.
- U(i) is the statistical utility, clipped at the 95 % quantile (section 4.4) and divided by it, as in the authors'
  program. Otherwise the bonus for clients that weren't chosen for long, which is below 1, would vanish beside it.
- The preferred duration T is the median of the clients' last durations. The paper's pacer (line 7) begins with a
  duration that the user sets, and raises it when utility drops. A selector has no state but the feedback, and no
  number of seconds suits every workload.
- Unexplored clients are drawn uniformly, not by speed: it is unknown yet, and as they train in one thread, their number
  of processors says little about it.
- Clients aren't barred after many rounds: with few clients, soon none would be left. Instead, clients that failed rest
  (:meth:`celeriac.selectors.client_statistics.ClientStatistics.is_resting`) and are taken last.

Durations come from the clients' clocks, so two runs with one seed don't choose the same clients, unlike with the other
selectors. A run that was killed and resumed does, as the durations are in its history. Losses, examples and durations
are the clients' own claims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from celeriac.selectors import ConnectedClient, Selection
from celeriac.selectors.client_statistics import ClientStatistics
from celeriac.selectors.weighted_sampling import draw

Floats = npt.NDArray[np.float64]

CLIP_QUANTILE = 0.95
CUT_OFF = 0.95
"""Clients with at least this share of the cut-off utility may be drawn: the paper's c."""
PENALTY = 2.0
"""Exponent of T / D(i): the paper's alpha."""
_FIRST_EXPLORATION, _DECAY, _LEAST_EXPLORATION = 0.9, 0.98, 0.2
_LARGEST_LOSS = 1e100
"""Clips clients' claims, so that no utility is infinite."""


def select_oort(clients: Sequence[ConnectedClient], selection: Selection) -> list[str]:
    """Return ``num_wanted`` explored and unexplored clients; the order in which they connected makes no difference."""
    unexplored, explored, resting = _groups(clients, selection)
    num = min(selection.num_wanted, len(clients))
    num_unexplored = min(_num_to_explore(num, selection.round_number), len(unexplored))
    num_explored = min(num - num_unexplored, len(explored))
    num_unexplored = min(num - num_explored, len(unexplored))
    utilities = utilities_of([selection.statistics[client_id] for client_id in explored], selection.round_number)
    chosen = _exploit(explored, utilities, num_explored, selection.rng)
    chosen += _at_random(unexplored, num_unexplored, selection.rng)
    return chosen + _at_random(resting, num - len(chosen), selection.rng)


def _groups(clients: Sequence[ConnectedClient], selection: Selection) -> tuple[list[str], list[str], list[str]]:
    """Return the unexplored clients, the explored ones, and those resting after a failure, each sorted."""
    unexplored, explored, resting = [], [], []
    for client_id in sorted(client.client_id for client in clients):
        known = selection.statistics.get(client_id, ClientStatistics())
        if known.is_resting(selection.round_number):
            resting.append(client_id)
        elif known.num_accepted:
            explored.append(client_id)
        else:
            unexplored.append(client_id)
    return unexplored, explored, resting


def _num_to_explore(num: int, round_number: int) -> int:
    """Return how many of ``num`` clients should be unexplored: one or more."""
    share = max(_FIRST_EXPLORATION * _DECAY ** (round_number - 1), _LEAST_EXPLORATION)
    return math.ceil(round(share * num, 9))


def utilities_of(explored: Sequence[ClientStatistics], round_number: int) -> Floats:
    """Return the utility of each explored client: shape (len(explored),), none negative.

    A client that reports no loss has a statistical utility of 0 and keeps the bonus.
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
    """Return each utility's factor for the duration: less than 1 for clients slower than the median."""
    # The lower of the two middle ones: the sum of two durations, which clients claim, could be infinite.
    preferred_s = float(np.quantile(durations_s, 0.5, method="lower"))
    factors = np.ones(len(durations_s))
    slow = durations_s > preferred_s
    factors[slow] = (preferred_s / durations_s[slow]) ** PENALTY
    return factors


def _exploit(client_ids: Sequence[str], utilities: Floats, num: int, rng: np.random.Generator) -> list[str]:
    """Draw ``num`` clients by utility among all that are near the cut-off or above it."""
    if num == 0:
        return []
    cut_off = CUT_OFF * float(np.sort(utilities)[-num])
    admitted = [index for index, utility in enumerate(utilities) if utility >= cut_off]
    drawn = draw(rng, [float(utilities[index]) for index in admitted], num)
    return [client_ids[admitted[index]] for index in drawn]


def _at_random(client_ids: Sequence[str], num: int, rng: np.random.Generator) -> list[str]:
    return [client_ids[index] for index in draw(rng, [1.0] * len(client_ids), num)]
