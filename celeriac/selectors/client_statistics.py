"""What a selector knows of a client: a summary of its rounds so far."""

from __future__ import annotations

from dataclasses import dataclass

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
