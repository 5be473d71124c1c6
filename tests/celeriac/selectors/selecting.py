"""What the tests of selectors share: clients, selections, and the chances of a draw by weight, worked out in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from hypothesis import strategies as st

from celeriac.selectors import ConnectedClient, Selection
from celeriac.selectors.client_statistics import ClientStatistics
from tests.support import announcement


def client(client_id: str, num_examples: int = 5, **announced: Any) -> ConnectedClient:
    return ConnectedClient(client_id, announcement(client_id, num_examples=num_examples, **announced))


def trained(train_loss: float | None, round_number: int = 1, **changes: Any) -> ClientStatistics:
    """What is known of a client whose update was accepted in a round."""
    values = {"num_selected": 1, "last_selected": round_number, "num_accepted": 1, "last_accepted": round_number}
    return ClientStatistics(**{**values, "train_loss": train_loss, "duration_s": 1.0, "num_examples": 5, **changes})


def selection(
    num_wanted: int,
    statistics: Mapping[str, ClientStatistics],
    round_number: int = 2,
    seed: int = 0,
    num_needed: int = 1,
) -> Selection:
    return Selection(round_number, num_wanted, np.random.default_rng(seed), statistics, num_needed)


def draws(weights: Sequence[float], num: int) -> dict[tuple[int, ...], float]:
    """Each way to draw ``num`` indices one after the other in proportion to weight, and its chance, where there is one.

    The first is drawn with w / sum of all, the next with w / sum of those that are left, and so on.
    """
    chances = {}
    for drawn in permutations(range(len(weights)), num):
        chance, left = 1.0, float(sum(weights))
        for index in drawn:
            chance *= weights[index] / left if left > 0 else 0.0
            left -= weights[index]
        if chance > 0:
            chances[drawn] = chance
    return chances


_CLAIMS = st.floats(0, 1e308)
FEEDBACK = st.one_of(
    st.just(ClientStatistics()),
    st.builds(ClientStatistics, num_selected=st.just(3), last_selected=st.integers(1, 9), num_missed=st.integers(1, 9)),
    st.builds(
        ClientStatistics,
        num_selected=st.just(4),
        last_selected=st.just(9),
        num_accepted=st.just(4),
        last_accepted=st.integers(1, 9),
        num_missed=st.integers(0, 3),
        train_loss=st.none() | st.floats(-1e308, 1e308),
        duration_s=_CLAIMS,
        num_examples=st.integers(0, 10**12),
    ),
)
"""Whatever can be known of a client before round 10, with whatever it may have claimed."""


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[ConnectedClient], dict[str, ClientStatistics]]:
    """Clients with any number of examples, and what is known of some of them."""
    there = [client(f"client-{index}", draw(st.integers(0, 10**12))) for index in range(draw(st.integers(1, 9)))]
    known = {each.client_id: draw(FEEDBACK) for each in there if draw(st.booleans())}
    return there, {**known, "who left": draw(FEEDBACK)}
