"""Statistics of clients for selectors: a summary of each client's rounds so far.

They depend on the rounds' records alone, so a killed and resumed run computes the same from its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from celeriac.selectors.client_statistics import ClientStatistics
from orchestrator.store.records import ACCEPTED, RoundRecord, SlotRecord
from tasks.messages import Status

NUM_LEFT_OUT = 5
"""After this many rounds in a row in which a client was asked in vain, the run reports it."""


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
