"""A run's figures, as Prometheus' own parser reads them."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rich.console import Console

from orchestrator.observers import ObserverContext, load_observer
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    ClientsLeft,
    Event,
    JobDone,
    JoinedLive,
    ModelEvaluated,
    Outcome,
    ResponsesLate,
    RoundOpened,
    SlotsFilled,
    UpdatesJudged,
)
from orchestrator.observers.prometheus import Prometheus, reason_class
from tasks.errors import ConfigurationError
from tasks.messages import Status
from tests.integration.harness import free_port
from tests.orchestrator.observers.telling import CLOSED, ENDED, FAILED, STARTED
from tests.support import run_config

Samples = dict[tuple[str, ...], float]


_FILLED = {
    "anna": Outcome(status=Status.TRAINED, duration_s=2.0),
    "bert": Outcome(status=Status.TRAINED, duration_s=40.0),
    "carl": Outcome(status=Status.LOST, reason="the client vanished"),
}
STORY: list[Event] = [
    STARTED,
    ClientsJoined(clients={"anna": 10, "bert": 20, "carl": 5}),
    RoundOpened(round_number=3, cohort=("anna", "bert", "carl")),
    JoinedLive(round_number=3, client_ids=("dora",)),
    SlotsFilled(round_number=3, slots=_FILLED),
    ClientsLeft(client_ids=("carl",)),
    UpdatesJudged(round_number=3, accepted=("anna",), rejected={"bert": "too long"}, scores={}),
    ResponsesLate(round_number=3, orders={"dora/run/2/train": "dora"}),
    JobDone(round_number=3, job="ingest", duration_s=0.02),
    CLOSED,
    ClientsEvaluated(round_number=3, metrics={"accuracy": 0.5}, num_evaluated=2, not_evaluated={}),
    ModelEvaluated(round_number=3, metrics={"accuracy": 0.75, "loss": 0.25}),
    FAILED,
]
"""A run in which something of each kind happens."""


def samples(folder: Path, *events: Event, **changes: Any) -> list[Sample]:
    """What Prometheus' own parser finds at an observer that was told these events."""
    port = free_port()
    observer = Prometheus(ObserverContext(folder, run_config(**changes), str(port), Console()))
    try:
        for event in events:
            observer.observe(event)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        observer.close()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def scraped(folder: Path, *events: Event, **changes: Any) -> Samples:
    """The same as a dictionary: name and values of labels, by their names -> figure."""
    found = samples(folder, *events, **changes)
    return {(sample.name, *sample.labels.values()): sample.value for sample in found}


def test_a_run_is_told_in_figures(tmp_path: Path) -> None:
    # Given a run in which something of each kind happens, when it is read, then all of it was counted
    found = scraped(tmp_path, *STORY)
    expected = {
        ("celeriac_run_info", "fedavg", "run", "digits"): 1,
        ("celeriac_rounds_planned",): 10,
        ("celeriac_round_open",): 3,
        ("celeriac_cohort_clients",): 4,
        ("celeriac_orders_open",): 0,
        ("celeriac_clients_connected",): 2,
        ("celeriac_rounds_total", "closed"): 1,
        ("celeriac_rounds_total", "failed"): 1,
        ("celeriac_slots_total", "trained"): 2,
        ("celeriac_slots_total", "lost"): 1,
        ("celeriac_updates_accepted_total",): 1,
        ("celeriac_updates_rejected_total", "malformed"): 1,
        ("celeriac_responses_late_total",): 1,
        ("celeriac_sent_bytes_total",): CLOSED.bytes_down + FAILED.bytes_down,
        ("celeriac_received_bytes_total",): CLOSED.bytes_up + FAILED.bytes_up,
        ("celeriac_round_duration_seconds_sum",): CLOSED.duration_s + FAILED.duration_s,
        ("celeriac_order_duration_seconds_count",): 2,
        ("celeriac_order_duration_seconds_bucket", "3.0"): 1,
        ("celeriac_job_duration_seconds_count", "ingest"): 1,
        ("celeriac_metric", "clients", "accuracy"): 0.5,
        ("celeriac_metric", "held_out", "accuracy"): 0.75,
        ("celeriac_metric", "held_out", "loss"): 0.25,
    }
    assert {name: found.get(name) for name in expected} == expected
    # And nothing of a client's id is told
    assert not any(client in str(name) for name in found for client in ("anna", "bert", "carl", "dora"))


def test_nobody_is_connected_when_the_run_has_ended_and_nobody_is_answered(tmp_path: Path) -> None:
    assert scraped(tmp_path, ClientsJoined(clients={"anna": 10}), ENDED)[("celeriac_clients_connected",)] == 0
    port = free_port()
    Prometheus(ObserverContext(tmp_path, run_config(), f"127.0.0.1:{port}", Console())).close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


@pytest.mark.parametrize("parameter", ["", ":", "http", "0", "65536", "localhost:", "-1", "9464:localhost"])
def test_what_is_no_address_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=r"prometheus:\[HOST:\]PORT is needed"):
        load_observer(f"prometheus:{parameter}")


def test_what_clients_make_up_is_shown_no_longer_than_it_is_told(tmp_path: Path) -> None:
    # Given metrics that have another name each round, and a round at last that tells none
    told = [{"loss": 1.0, f"made-up-{number}": 2.0} for number in range(5)]
    rounds = [CLOSED.model_copy(update={"train_metrics": metrics}) for metrics in (*told, {})]
    # When they are read, then those of the last that told any are there, and no others
    found = [names for names in scraped(tmp_path, *rounds) if names[0] == "celeriac_metric"]
    assert found == [("celeriac_metric", "training", "loss"), ("celeriac_metric", "training", "made-up-4")]


def test_what_hasnt_been_counted_yet_is_shown_as_zero(tmp_path: Path) -> None:
    # Given a run that verifies, before its first round, when it is read, then each kind of count is there
    found = scraped(tmp_path, STARTED, verify=("norm",))
    assert found[("celeriac_rounds_total", "failed")] == 0
    assert found[("celeriac_slots_total", "timed_out")] == 0
    for reason in ("norm", "disproportion", "malformed"):
        assert found[("celeriac_updates_rejected_total", reason)] == 0


def test_orders_are_open_until_they_are_answered(tmp_path: Path) -> None:
    # Given a round of three clients, when one has answered, then two orders are open
    opened = RoundOpened(round_number=1, cohort=("anna", "bert", "carl"))
    filled = SlotsFilled(round_number=1, slots={"anna": Outcome(status=Status.TRAINED)})
    assert scraped(tmp_path, opened, filled)[("celeriac_orders_open",)] == 2


REASONS = {
    "norm: 12.3 is not within the threshold mad:3": "norm",
    "krum could not score: 2 updates are too few": "krum",
    "peers: nobody scored it": "peers",
    "its change of the parameters has length 1e+09, the median of all is 1: at most 100 is allowed": "disproportion",
    "the set 'c' with it has length 40, the median has 3": "disproportion",
    "array 'weight' has values that are NaN or infinite": "malformed",
    "it claims to be trained on no examples": "malformed",
}
"""Why an update is rejected -> of which kind that is."""


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_counted_by_their_kind(reason: str) -> None:
    assert reason_class(reason, ("norm", "krum", "peers")) == REASONS[reason]
