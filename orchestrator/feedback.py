"""How each client did in the rounds so far, for selectors that go by it: a summary a client, kept from round to round.

It is made of the rounds' records alone, so a run that goes on after it was killed makes the same from its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from orchestrator.records import ACCEPTED, RoundRecord, SlotRecord
from tasks.messages import Status

NUM_LEFT_OUT = 5
"""Rounds in a row in which a client was asked in vain after which that is told."""
_MOST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Feedback:
    """How a client did in the rounds that it was asked to take part in.

    All but the first four is what the client said when its update was last accepted, and is 0 or None until then.

    Attributes:
        num_selected: Rounds that it was in the cohort of.
        last_selected: The last of them.
        num_accepted: Rounds in which its update was accepted, whether it trained to the end or was cut short.
        num_missed: How many times in a row, up to now, it was asked and no update of it was accepted.
        last_accepted: The last round in which its update was accepted.
        train_loss: Mean loss on its own examples in training; None if the workload tells none.
        duration_s: Seconds that it took, by its own clock.
        num_examples: Examples that it trained on.
        num_steps: Optimiser's steps that it did.
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
        """Say whether a client that failed should be passed over in this round, where there are others.

        After the first failure in a row it rests for a round, then for 2, 4, 8 and so on, 64 at the most. So one that
        always fails doesn't spoil round after round, and one that failed once is soon back.
        """
        if self.num_missed == 0:
            return False
        num_rounds = 1 << min(self.num_missed - 1, _MOST_DOUBLINGS)
        return round_number - self.last_selected <= num_rounds


class FeedbackBook:
    """Keeps every client's feedback up to date, a round at a time.

    Args:
        history: The rounds that are closed already, the first one first.
    """

    def __init__(self, history: Iterable[RoundRecord] = ()) -> None:
        self._by_client: dict[str, Feedback] = {}
        for record in history:
            self.add(record)

    @property
    def by_client(self) -> Mapping[str, Feedback]:
        """Feedback by client id, of all clients that were ever asked; a view that can't be changed."""
        return MappingProxyType(self._by_client)

    def add(self, record: RoundRecord) -> None:
        """Take in a round that was closed, the one after the last."""
        for client_id, slot in record.answers.items():
            former = self._by_client.get(client_id, Feedback())
            self._by_client[client_id] = _after(former, record.round_number, slot)


def newly_left_out(record: RoundRecord, by_client: Mapping[str, Feedback]) -> list[str]:
    """Return the clients of which it shows with this round, the last, that no work of theirs comes into the model.

    A client is among them once, until an update of it is accepted again.
    """
    return [client_id for client_id in record.answers if by_client[client_id].num_missed == NUM_LEFT_OUT]


def _after(former: Feedback, round_number: int, slot: SlotRecord) -> Feedback:
    """Return a client's feedback after a round in which it was asked."""
    asked = replace(former, num_selected=former.num_selected + 1, last_selected=round_number)
    if slot.status is Status.SURVEYED:  # its round failed before it was to train
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
