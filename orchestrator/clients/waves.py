"""Waves: a worker that serves more clients than it has processes carries their orders out one wave after the other.

Pure: no clock, no queue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client's orders are carried out.

    Attributes:
        queue: The queue that they go to; clients that share a worker share it.
        num_processes: Orders that the worker carries out at a time.
        most_together: Orders that one message may bring.
    """

    queue: str
    num_processes: int = 1
    most_together: int = 1


def waves_by_queue(places: Iterable[Place]) -> dict[str, int]:
    """Return in how many waves the orders to these places are carried out: ceil(orders / processes), by queue.

    Where clients of one queue disagree about the processes, the least counts: nobody starves by what another claims.
    """
    by_queue: dict[str, list[int]] = {}
    for place in places:
        by_queue.setdefault(place.queue, []).append(place.num_processes)
    return {queue: math.ceil(len(processes) / min(processes)) for queue, processes in by_queue.items()}


def num_waves(places: Iterable[Place]) -> int:
    """Return in how many waves all of the orders to these places are carried out; 1 if there are none."""
    return max(waves_by_queue(places).values(), default=1)


def seconds_a_wave(
    newcomers: Iterable[str], others: Iterable[str], place_of: Callable[[str], Place], left_s: float
) -> dict[str, float]:
    """Return how long a wave of each newcomer's worker may be, of the seconds that are left for it and the others."""
    places = {client_id: place_of(client_id) for client_id in newcomers}
    waves = waves_by_queue([*places.values(), *map(place_of, others)])
    return {client_id: left_s / waves[place.queue] for client_id, place in places.items()}


def in_turn(orders: Sequence[T], place_of: Callable[[T], Place], round_number: int) -> list[T]:
    """Return orders as they are to be sent in a round: each queue's begin a wave later than in the round before.

    So the wave that is last, and has the least time if others took too much, is another one every round.
    """
    by_queue: dict[str, list[T]] = {}
    for order in orders:
        by_queue.setdefault(place_of(order).queue, []).append(order)
    sent: list[T] = []
    for line in by_queue.values():
        wave = min(place_of(order).num_processes for order in line)
        start = (round_number - 1) * wave % len(line)
        sent += line[start:] + line[:start]
    return sent
