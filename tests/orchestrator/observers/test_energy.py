from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.observers import ObserverContext, load_observer
from orchestrator.observers.energy import EnergyEstimate
from orchestrator.observers.events import (
    Event,
    JobDone,
    OrdersAnswered,
    Outcome,
    ResponsesLate,
    RoundOpened,
    SlotsFilled,
)
from orchestrator.store.energy import RoundEnergy
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError
from tasks.messages import Status
from tests.orchestrator.observers.telling import ENDED, closed
from tests.support import run_config

CODECARBON = """
from pathlib import Path

class OfflineEmissionsTracker:
    def __init__(self, country_iso_code, output_dir, log_level):
        self.country, self.path = country_iso_code, Path(output_dir) / "emissions.csv"

    def start(self):
        self.is_on = True

    def stop(self):
        self.path.write_text(f"{self.country}, from start to stop" if self.is_on else "")
"""


def told(folder: RunFolder, *events: Event, parameter: str = "") -> list[RoundEnergy]:
    """What is in the file after an observer was told these events."""
    observer = EnergyEstimate(ObserverContext(folder.path, run_config(), parameter, Console()))
    for event in events:
        observer.observe(event)
    observer.close()
    lines = (folder.path / "energy.jsonl").read_text().splitlines()
    return [RoundEnergy.model_validate_json(line) for line in lines]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", run_config())


def opened(round_number: int) -> RoundOpened:
    return RoundOpened(round_number=round_number, cohort=("anna", "bert"))


def filled(**cpu_s: float) -> SlotsFilled:
    slots = {client_id: Outcome(status=Status.TRAINED, cpu_s=seconds) for client_id, seconds in cpu_s.items()}
    return SlotsFilled(round_number=1, slots=slots)


def test_a_round_has_what_clients_took_for_all_of_its_orders(folder: RunFolder) -> None:
    # Given a round in which two clients train and evaluate, and a third answers late, twice
    events = (
        opened(1),
        filled(anna=2.0),
        filled(bert=3.0),
        OrdersAnswered(round_number=1, order="evaluate", cpu_s={"anna": 0.5, "bert": 0.25}),
        ResponsesLate(round_number=1, orders={"a": "carl", "b": "carl"}, cpu_s={"a": 1.0, "b": 4.0}),
        closed(1),
        opened(2),
        filled(anna=7.0),
        closed(2),
    )
    # When it is told, then each round has its own by client, with what a second is taken for
    first, second = told(folder, *events, parameter="8.5:56")
    assert (first.round_number, first.cpu_s) == (1, {"anna": 2.5, "bert": 3.25, "carl": 5.0})
    assert (second.round_number, second.cpu_s) == (2, {"anna": 7.0})
    assert {(line.watts, line.grams_per_kwh) for line in (first, second)} == {(8.5, 56.0)}


def test_what_comes_after_the_last_round_has_a_line_of_its_own(folder: RunFolder) -> None:
    # Given a run whose clients are asked once more after its last round, and whose worker evaluates its model
    events = (
        opened(1),
        filled(anna=2.0),
        closed(1),
        OrdersAnswered(round_number=1, order="evaluate", cpu_s={"anna": 8.0}),
        JobDone(round_number=1, job="evaluate", duration_s=1.0, cpu_s=1000.0),
        ENDED,
    )
    # When it is told, then the last line has that, and what the worker took is the orchestrator's
    _, last = told(folder, *events)
    assert (last.round_number, last.cpu_s) == (None, {"anna": 8.0})
    assert 1000.0 <= last.own_cpu_s < 2000.0


def test_a_round_that_is_taken_up_again_is_counted_once(folder: RunFolder) -> None:
    # Given a run that is interrupted in its second round, of which one client has answered
    told(folder, opened(1), filled(anna=1.0), closed(1), opened(2), filled(anna=2.0), ENDED)
    # When it goes on, and is told of that again
    lines = told(folder, opened(2), filled(anna=2.0), filled(bert=4.0), closed(2), ENDED)
    # Then the round is there once, and so is what the first start took
    assert [(line.round_number, line.cpu_s) for line in lines] == [
        (1, {"anna": 1.0}),
        (None, {}),
        (2, {"anna": 2.0, "bert": 4.0}),
        (None, {}),
    ]
    energy = folder.energy()
    assert energy is not None
    assert energy.clients_cpu_s == 7.0


@pytest.mark.parametrize("parameter", ["x", "-1", "12:much", "12:-3", "nan", "inf", "12:475:1"])
def test_what_is_no_number_of_watts_or_grams_is_refused_before_a_run(parameter: str) -> None:
    # Given a parameter that isn't one, when it is named, then what is allowed is said
    with pytest.raises(ConfigurationError, match=r"energy\[:WATTS\[:GRAMS_PER_KWH\]\] is needed"):
        load_observer(f"energy:{parameter}")


@pytest.mark.parametrize("spec", ["energy", "energy:12", "energy:8.5:56", "energy::56"])
def test_watts_and_grams_may_each_be_left_out(spec: str) -> None:
    # Given a parameter that is one, when it is named, then it is taken
    assert load_observer(spec)[0] is EnergyEstimate


def test_the_pages_observer_has_codecarbon_measure_from_the_runs_beginning_to_its_end(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the page's observer, and what stands in for codecarbon, which is no dependency
    page = (Path(__file__).parents[3] / "docs" / "energy.md").read_text(encoding="utf-8")
    (tmp_path / "codecarbon_observer.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    (tmp_path / "codecarbon.py").write_text(CODECARBON)
    monkeypatch.syspath_prepend(tmp_path)
    # When it is made, told of an event, and closed
    factory, parameter = load_observer("codecarbon_observer:CodeCarbon:FRA")
    observer = factory(ObserverContext(folder.path, run_config(), parameter, Console()))
    observer.observe(ENDED)
    observer.close()
    # Then what was measured for the country is in the run's folder
    assert (folder.path / "emissions.csv").read_text() == "FRA, from start to stop"
