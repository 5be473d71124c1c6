"""A round's time line: who was waited for, and where the seconds went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.observers.durations import duration
from orchestrator.page.round_view import RoundView, Slot

MAX_BARS = 40
"""Clients that have a bar: those that took longest."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of the time line; all of it in shares of the whole, in percent.

    Attributes:
        name: The client, or the own workers' task.
        kind: ``client`` or ``job``.
        state: How the client's order stands.
        start: Where it begins.
        length: How long it is.
        work: How much of its end the client trained, by its own clock.
        text: What it says.
    """

    name: str
    kind: str
    state: str
    start: float
    length: float
    work: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeLine:
    """A round's bars, how long it took, what there is to say of it, and how many clients have no bar."""

    bars: Sequence[Bar]
    total_s: float
    told: str
    num_hidden: int


def time_line_of(view: RoundView, now: float) -> TimeLine:
    """Return a round's time line; that of an open one goes up to now."""
    over_at = max([view.closed_at or now, *(job.ended_at for job in view.jobs)])
    total_s = max(over_at - view.opened_at, 1e-6)
    slots = sorted(view.slots.items(), key=lambda item: -(item[1].arrived_at or over_at))
    bars = [_of_client(client_id, slot, view, over_at) for client_id, slot in slots[:MAX_BARS]]
    for job in view.jobs:
        length = 100 * min((job.ended_at - job.began_at) / total_s, 1)
        start = min(max(0.0, 100 * (job.began_at - view.opened_at) / total_s), 100 - length)
        bars.append(Bar(job.name, "job", "job", start, length, 100.0, duration(job.ended_at - job.began_at)))
    return TimeLine(bars, total_s, _told(view), max(0, len(slots) - MAX_BARS))


def _of_client(client_id: str, slot: Slot, view: RoundView, over_at: float) -> Bar:
    total_s = max(over_at - view.opened_at, 1e-6)
    until = slot.arrived_at or (view.closed_at or over_at)
    took_s = max(until - slot.asked_at, 1e-9)
    trained_s = min(slot.outcome.duration_s, took_s) if slot.outcome else 0.0
    text = duration(took_s) + (f", {duration(trained_s)} of it training" if trained_s else "")
    return Bar(
        client_id,
        "client",
        slot.state.value,
        100 * (slot.asked_at - view.opened_at) / total_s,
        100 * took_s / total_s,
        100 * trained_s / took_s,
        text,
    )


def _told(view: RoundView) -> str:
    """Say when the first and the last client answered, whom the others waited for, and what came after."""
    arrivals = sorted((slot.arrived_at, client_id) for client_id, slot in view.slots.items() if slot.arrived_at)
    if not arrivals:
        return "No client has answered yet."
    first_s, (last_at, last) = arrivals[0][0] - view.opened_at, arrivals[-1]
    told = f"The first answer came after {duration(first_s)}, the last after {duration(last_at - view.opened_at)}"
    told += f" (from {last})." if len(arrivals) > 1 else "."
    if len(arrivals) > 1:
        waited_s = sum(last_at - at for at, _ in arrivals) / len(arrivals)
        told += f" A client waited {duration(waited_s)} for the last one, on average."
    if view.closed_at is not None:
        told += f" Judging and aggregating took {duration(max(0.0, view.closed_at - last_at))}."
    return told
