from __future__ import annotations

import pytest

from orchestrator.store.energy import Energy, RoundEnergy


def line(own_cpu_s: float, watts: float = 12.0, grams_per_kwh: float = 475.0, **cpu_s: float) -> RoundEnergy:
    return RoundEnergy(round_number=1, cpu_s=cpu_s, own_cpu_s=own_cpu_s, watts=watts, grams_per_kwh=grams_per_kwh)


def test_energy_is_processor_seconds_times_watts_and_its_co2e_that_times_grams() -> None:
    # Given two rounds: 200 + 100 and 60 seconds of clients, 30 and 6 of the orchestrator
    lines = [line(30.0, anna=200.0, bert=100.0), line(6.0, anna=60.0)]
    # When they are added up
    energy = Energy.of(lines)
    # Then 360 s x 12 W = 4320 Ws = 1.2 Wh, 36 s x 12 W = 432 Ws = 0.12 Wh, and 1.32 Wh x 0.475 g a Wh = 0.627 g
    assert (energy.clients_cpu_s, energy.own_cpu_s) == (360.0, 36.0)
    assert energy.clients_wh == pytest.approx(1.2)
    assert energy.own_wh == pytest.approx(0.12)
    assert energy.grams_co2e == pytest.approx(0.627)


def test_a_run_that_went_on_with_other_figures_counts_each_round_by_its_own() -> None:
    # Given an hour at 10 W and 100 g a kWh, and another at 20 W and 500 g
    energy = Energy.of([line(0.0, 10.0, 100.0, anna=3600.0), line(0.0, 20.0, 500.0, anna=3600.0)])
    # When they are added up, then it is 10 + 20 Wh, and 10 Wh x 0.1 + 20 Wh x 0.5 = 11 g
    assert energy.clients_wh == pytest.approx(30.0)
    assert energy.grams_co2e == pytest.approx(11.0)
    # And it is told with the watts on the average
    assert "× 15 W a core, 367 g a kWh" in energy.said()


@pytest.mark.parametrize(
    ("cpu_s", "own_cpu_s", "said"),
    [
        (360.0, 36.0, "1.32 Wh, 0.627 g CO2e (an estimate: 360 processor seconds of clients and 36 of the"),
        (3.6e6, 0.0, "12,000 Wh, 5,700 g CO2e (an estimate: 3,600,000 processor seconds of clients and 0 of the"),
        (0.03, 0.0, "0.0001 Wh, 4.75e-05 g CO2e (an estimate: 0.03 processor seconds of clients and 0 of the"),
    ],
)
def test_it_says_that_it_is_an_estimate_and_of_what(cpu_s: float, own_cpu_s: float, said: str) -> None:
    # Given seconds of clients and of the orchestrator, when it is said what they come to, then it is in three digits
    assert Energy.of([line(own_cpu_s, anna=cpu_s)]).said().startswith(f"energy: about {said}")
    # And with what a second is taken for
    assert Energy.of([line(own_cpu_s, anna=cpu_s)]).said().endswith(" × 12 W a core, 475 g a kWh)")


def test_where_a_core_takes_nothing_no_energy_is_known() -> None:
    # Given 0 W, when it is said what a second and a half come to, then it isn't said to be nothing
    assert Energy.of([line(0.5, watts=0.0, anna=1.0)]).said() == "energy: not known (1.5 processor seconds at 0 W)"
