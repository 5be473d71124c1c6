"""What a run took, estimated by processor seconds: pure, and said to be an estimate wherever it is shown.

Energy is processor seconds times the watts of a busy core, as in Lannelongue et al., "Green Algorithms" (2021, equation
1) with one core at full use; left out are memory, accelerators, disks, networks, cooling, and what idles.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoundEnergy(_Record):
    """A line of ``energy.jsonl``: what was computed for a round, and what a processor second is taken for."""

    round_number: int | None
    """The round; None for what came after the last that was closed."""
    cpu_s: dict[str, float]
    """Processor seconds by client id, by the clients' own account."""
    own_cpu_s: float
    """Processor seconds of the orchestrator's own processes."""
    watts: float
    """Power of a busy core."""
    grams_per_kwh: float
    """CO2e of the electricity."""


class Energy(_Record):
    """What a run took: an estimate."""

    clients_cpu_s: float
    """Processor seconds of all clients."""
    own_cpu_s: float
    """Processor seconds of the orchestrator's own processes."""
    clients_wh: float
    """Watt-hours of all clients."""
    own_wh: float
    """Watt-hours of the orchestrator's own processes."""
    grams_co2e: float
    """Grams of CO2e of both."""

    @classmethod
    def of(cls, lines: Sequence[RoundEnergy]) -> Energy:
        """Return the sum of what the rounds took."""
        clients = [(sum(line.cpu_s.values()), line) for line in lines]
        clients_wh = [cpu_s * line.watts / 3600 for cpu_s, line in clients]
        own_wh = [line.own_cpu_s * line.watts / 3600 for line in lines]
        grams = [(a + b) * line.grams_per_kwh / 1000 for a, b, line in zip(clients_wh, own_wh, lines, strict=True)]
        return cls(
            clients_cpu_s=round(sum(cpu_s for cpu_s, _ in clients), 6),
            own_cpu_s=round(sum(line.own_cpu_s for line in lines), 6),
            clients_wh=round(sum(clients_wh), 9),
            own_wh=round(sum(own_wh), 9),
            grams_co2e=round(sum(grams), 9),
        )

    def said(self) -> str:
        """Return it in words, with what it is made of."""
        cpu_s, wh = self.clients_cpu_s + self.own_cpu_s, self.clients_wh + self.own_wh
        if not wh:
            return f"energy: not known ({_digits(cpu_s)} processor seconds at 0 W)"
        of_clients, own = _digits(self.clients_cpu_s), _digits(self.own_cpu_s)
        watts, grams_per_kwh = wh * 3600 / cpu_s, self.grams_co2e * 1000 / wh
        return (
            f"energy: about {_digits(wh)} Wh, {_digits(self.grams_co2e)} g CO2e (an estimate: "
            f"{of_clients} processor seconds of clients and {own} of the orchestrator "
            f"× {_digits(watts)} W a core, {_digits(grams_per_kwh)} g a kWh)"
        )


def _digits(number: float) -> str:
    """Return three digits of a number, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
