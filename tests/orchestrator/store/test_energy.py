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
    assert "× 15 W a core" in energy.said()


def test_it_says_that_it_is_an_estimate_and_of_what() -> None:
    # Given 360 seconds of clients and 36 of the orchestrator's, when it is said, then so it is
    said = Energy.of([line(36.0, anna=360.0)]).said()
    assert said == (
        "energy: about 1.32 Wh, 0.627 g CO2e (an estimate: 360 processor seconds of clients and 36 of the orchestrator "
        "× 12 W a core)"
    )
    # And of nothing nothing is said to be known
    assert Energy.of([line(0.0)]).said() == "no processor seconds are known, to estimate the energy by"
