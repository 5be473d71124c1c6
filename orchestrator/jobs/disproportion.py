"""Updates that are out of all proportion to the others of their round: always dropped, whatever else judges them.

Where a round's updates are added up as they come, the others are not all there yet. Then an update is judged among
those of ``NUM_BEFORE`` slots up to the end of its own group of slots, in their order: what has come later, or sooner
than its turn, makes no difference.

What comes with updates beside what is trained is judged by its length too, where updates are verified: scorers look at
what is trained alone. A control variate or a gradient that is far longer than the others' turns the state that all
clients train by, and running statistics that are spoil what the model makes of its inputs, while what was trained may
be the best of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from orchestrator.store.records import SlotRecord
from verification.proportion import (
    LEAST_TO_COMPARE,
    PARAMETERS,
    Lengths,
    OwnLength,
    by_part,
    described,
    out_of_proportion,
)

MAD_WIDTH = 5 * 1.4826
"""Robust standard deviations from the median at which a set is an outlier."""
AT_ONCE = 8
"""Slots of a group where updates are added as they come: judged, and then added, at once."""
NUM_BEFORE = 64
"""Slots among which an update is judged where updates are added up as they come; its own group's are the last."""

RecordOf = Callable[[str], SlotRecord | None]
"""From a client's id to the record of its slot; None if that isn't filled yet."""


def drop_disproportionate(records: Mapping[str, SlotRecord], own_length: OwnLength) -> dict[str, SlotRecord]:
    """Return the records, those rejected whose updates are out of all proportion to the others'."""
    return rejected(records, _judged(records, own_length))


def outlying_sets(lengths_of: Mapping[str, Lengths]) -> dict[str, str]:
    """Return whose sets or buffers are too long, and why.

    They are if their L2 length, buffers' as changes of the global model's, is more than twice the median of all
    clients' and over five robust standard deviations (1.4826 MAD) above it. With fewer than three clients nobody can
    be told from the others.

    Args:
        lengths_of: Client id -> the lengths of its update's parts.
    """
    reasons: dict[str, str] = {}
    for part, each in by_part(lengths_of).items():
        if part == PARAMETERS or len(each) < LEAST_TO_COMPARE:
            continue
        middle = median(each.values())
        spread = MAD_WIDTH * median(abs(length - middle) for length in each.values())
        for client_id, length in each.items():
            if length > middle + max(middle, spread):
                reasons.setdefault(client_id, f"{described(part, length)}, the median has {middle:.3g}")
    return reasons


def rejected(records: Mapping[str, SlotRecord], reasons: Mapping[str, str]) -> dict[str, SlotRecord]:
    """Return the records, those rejected for which there are reasons."""
    return {
        client_id: record.rejected(reasons[client_id]) if client_id in reasons else record
        for client_id, record in records.items()
    }


class InOrder:
    """Judges the updates of a round in the order of their slots.

    Args:
        order: Ids of the clients in the order of their slots.
        record_of: What is known of a slot.
        own_length: From a part to the length of the model that the round started from.
        is_over: Whether no other slot will be filled, or added.
    """

    def __init__(self, order: Sequence[str], record_of: RecordOf, own_length: OwnLength, *, is_over: bool) -> None:
        self._order = order
        self._record_of = record_of
        self._own_length = own_length
        self._is_over = is_over
        self._known: dict[int, dict[str, str]] = {}

    def reasons(self, index: int) -> Mapping[str, str] | None:
        """Return who of the slot's group is out of proportion, and why; None as long as too little is known.

        Fewer than three updates are too few to judge by: then the groups that follow are waited for.
        """
        group = index // AT_ONCE
        if group not in self._known:
            among = self._among(group)
            if among is None:
                return None
            own = set(self._order[group * AT_ONCE :][:AT_ONCE])
            found = _judged(among, self._own_length)
            self._known[group] = {client_id: reason for client_id, reason in found.items() if client_id in own}
        return self._known[group]

    def all_reasons(self) -> dict[str, str]:
        """Return who of all is out of proportion, and why, when the round is over."""
        found: dict[str, str] = {}
        for index in range(0, len(self._order), AT_ONCE):
            found |= self.reasons(index) or {}
        return found

    def _among(self, group: int) -> dict[str, SlotRecord] | None:
        """Return the records by which a group is judged; None if one of them isn't there yet."""
        begin, end = group * AT_ONCE, max(group + 1, 2) * AT_ONCE  # the first eight alone would be few to judge by
        while True:
            if end > len(self._order) and not self._is_over:
                return None
            found = self._filled(self._order[max(0, min(begin, end - NUM_BEFORE)) : end])
            if found is None:
                return None
            if sum(record.is_accepted for record in found.values()) >= LEAST_TO_COMPARE:
                return found
            if end >= len(self._order):
                return found if self._is_over else None
            end += AT_ONCE

    def _filled(self, slots: Sequence[str]) -> dict[str, SlotRecord] | None:
        """Return the records of slots; None if one of them isn't there yet: the last are looked at first."""
        found: dict[str, SlotRecord] = {}
        for client_id in reversed(slots):
            record = self._record_of(client_id)
            if record is not None:
                found[client_id] = record
            elif not self._is_over:
                return None
        return found


def _judged(records: Mapping[str, SlotRecord], own_length: OwnLength) -> dict[str, str]:
    accepted = {client_id: record for client_id, record in records.items() if record.is_accepted}
    lengths = {client_id: record.lengths for client_id, record in accepted.items()}
    steps = {client_id: record.num_steps for client_id, record in accepted.items()}
    return out_of_proportion(lengths, steps, own_length)
