"""An estimate of the energy that a run takes, by the processor seconds of clients and orchestrator, a line a round."""

from __future__ import annotations

import time

from orchestrator.observers import ObserverContext
from orchestrator.observers.events import (
    Event,
    JobDone,
    OrdersAnswered,
    ResponsesLate,
    RoundClosed,
    RoundOpened,
    RunEnded,
    SlotsFilled,
)
from orchestrator.store.energy import RoundEnergy
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError

WATTS = 12.0
"""Power of a busy core where nothing is known of it: "Any" in the table of Green Algorithms 3.0 (TDP_cpu.csv)."""
GRAMS_PER_KWH = 475.0
"""CO2e of the world's electricity: IEA, Global Energy & CO2 Status Report 2019."""


class EnergyEstimate:
    """Appends what a round took to ``energy.jsonl`` when it is closed, and what came after the last at the run's end.

    Its parameter is ``WATTS[:GRAMS_PER_KWH]``.
    """

    def __init__(self, context: ObserverContext) -> None:
        self._watts, self._grams_per_kwh = _numbers(context.parameter)
        self._folder = RunFolder(context.folder)
        self._clients: dict[str, float] = {}
        self._own_cpu_s = 0.0
        self._told_cpu_s = 0.0
        """Processor seconds of this process that are in a line already."""
        self._is_open = False

    @staticmethod
    def check(parameter: str) -> None:
        """Refuse what isn't two numbers.

        Raises:
            ConfigurationError: If it isn't.
        """
        _numbers(parameter)

    def observe(self, event: Event) -> None:
        """Add what an event tells of, and write it down when a round is closed, or the run ends."""
        match event:
            case RoundOpened():
                self._is_open = True
            case SlotsFilled(slots=slots):
                self._add({client_id: slot.cpu_s for client_id, slot in slots.items()})
            case OrdersAnswered(cpu_s=cpu_s):
                self._add(cpu_s)
            case ResponsesLate(orders=orders, cpu_s=cpu_s):
                for order_id, client_id in orders.items():
                    self._add({client_id: cpu_s.get(order_id, 0.0)})
            case JobDone(cpu_s=cpu_s):
                self._own_cpu_s += cpu_s
            case RoundClosed(round_number=number):
                self._write(number)
            case RunEnded():
                if self._is_open:  # who goes on with the round is told anew of those that have answered
                    self._clients.clear()
                self._write(None)

    def close(self) -> None:
        """Nothing is kept."""

    def _add(self, cpu_s: dict[str, float]) -> None:
        for client_id, seconds in cpu_s.items():
            self._clients[client_id] = self._clients.get(client_id, 0.0) + seconds

    def _write(self, round_number: int | None) -> None:
        loop_cpu_s = time.process_time()
        self._own_cpu_s += loop_cpu_s - self._told_cpu_s
        line = RoundEnergy(
            round_number=round_number,
            cpu_s={client_id: round(seconds, 6) for client_id, seconds in sorted(self._clients.items())},
            own_cpu_s=round(self._own_cpu_s, 6),
            watts=self._watts,
            grams_per_kwh=self._grams_per_kwh,
        )
        self._folder.add_energy(line)
        self._clients.clear()
        self._own_cpu_s, self._told_cpu_s, self._is_open = 0.0, loop_cpu_s, False


def _numbers(parameter: str) -> tuple[float, float]:
    """Return the watts of a busy core, and the grams of CO2e of a kilowatt-hour."""
    watts, _, grams = parameter.partition(":")
    try:
        numbers = float(watts or WATTS), float(grams or GRAMS_PER_KWH)
    except ValueError:
        numbers = (-1.0, -1.0)
    if not all(0 <= number <= 1e6 for number in numbers):
        raise ConfigurationError(
            f"observer 'energy:{parameter}': energy[:WATTS[:GRAMS_PER_KWH]] is needed, numbers from 0 to 1000000, like "
            "energy:8.5:56"
        )
    return numbers
