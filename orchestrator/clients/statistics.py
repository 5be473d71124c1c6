"""Statistics of clients for selectors: a summary of each client's rounds so far.

They depend on the rounds' records alone, so a killed and resumed run computes the same from its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from orchestrator.store.records import ACCEPTED, RoundRecord, SlotRecord
from tasks.messages import Status

NUM_LEFT_OUT = 5
"""After this many rounds in a row in which a client was asked in vain, the run reports it."""
_MOST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """A client's statistics over the rounds that it was in.

    All but the first four come from its last accepted update, and are 0 or None before the first.

    Attributes:
        num_selected: Rounds with the client in the cohort.
        last_selected: The last of these rounds.
        num_accepted: Rounds in which its update was accepted, whether it trained to the end or was cut short.
        num_missed: Its latest rounds in a row without an accepted update.
        last_accepted: The last round in which its update was accepted.
        train_loss: Mean training loss on its own examples; None if the workload reports none.
        duration_s: Seconds that it took, by its own clock.
        num_examples: Examples that it trained on.
        num_steps: Optimiser steps that it took.
    """

    num_selected: int = 0
    last_selected: int = 0
    num_accepted: int = 0
    num_missed: int = 0
    last_accepted: int = 0
    train_loss: float | None = None
    duration_s: float = 0.0
    num_examples: int = 0
    num_steps: int = 0

    def is_resting(self, round_number: int) -> bool:
        """Say whether a client that failed should be passed over in this round if there are others.

        After its first failure in a row a client rests for a round, then for 2, 4, 8 and so on, at most 64. So a client
        that always fails spoils few rounds, and a client that failed once is soon back.
        """
        if self.num_missed == 0:
            return False
        num_rounds = 1 << min(self.num_missed - 1, _MOST_DOUBLINGS)
        return round_number - self.last_selected <= num_rounds


class StatisticsBook:
    """Keeps every client's statistics up to date, a round at a time.

    Args:
        history: The closed rounds, in order.
    """

    def __init__(self, history: Iterable[RoundRecord] = ()) -> None:
        self._by_client: dict[str, ClientStatistics] = {}
        for record in history:
            self.add(record)

    @property
    def by_client(self) -> Mapping[str, ClientStatistics]:
        """Statistics of all clients that were ever asked, by client id; a read-only view."""
        return MappingProxyType(self._by_client)

    def add(self, record: RoundRecord) -> None:
        """Add the next closed round."""
        for client_id, slot in record.responses.items():
            former = self._by_client.get(client_id, ClientStatistics())
            self._by_client[client_id] = _after(former, record.round_number, slot)


def newly_left_out(record: RoundRecord, by_client: Mapping[str, ClientStatistics]) -> list[str]:
    """Return the clients without an accepted update in ``NUM_LEFT_OUT`` rounds in a row, as of this round, the last.

    A client is reported once, until an update of it is accepted again.
    """
    return [client_id for client_id in record.responses if by_client[client_id].num_missed == NUM_LEFT_OUT]


def _after(former: ClientStatistics, round_number: int, slot: SlotRecord) -> ClientStatistics:
    """Return a client's statistics after a round in which it was asked."""
    asked = replace(former, num_selected=former.num_selected + 1, last_selected=round_number)
    if slot.status is Status.SURVEYED:  # the round failed before the client was to train
        return asked
    if slot.status not in ACCEPTED:
        return replace(asked, num_missed=former.num_missed + 1)
    return replace(
        asked,
        num_accepted=former.num_accepted + 1,
        num_missed=0,
        last_accepted=round_number,
        train_loss=slot.metrics.get("train_loss"),
        duration_s=slot.duration_s,
        num_examples=slot.num_examples,
        num_steps=slot.num_steps,
    )
