"""A run's spans, as a collector gets them over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.observers import load_observer
from orchestrator.observers.events import Event, JoinedLive, Outcome, RoundOpened, SlotsFilled, UpdatesJudged
from tasks.errors import ConfigurationError
from tasks.messages import Status
from tests.orchestrator.observers.telling import ENDED, STARTED, closed, tell
from tests.otlp import Span, collector

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TRAINED = Outcome(status=Status.TRAINED, num_examples=5)
LOST = Outcome(status=Status.LOST, reason="the client vanished")
EVENTS: list[Event] = [
    STARTED,
    RoundOpened(round_number=1, cohort=("anna", "bert")),
    JoinedLive(round_number=1, client_ids=("carl",)),
    SlotsFilled(round_number=1, slots={"anna": TRAINED}),
    SlotsFilled(round_number=1, slots={"bert": LOST}),
    UpdatesJudged(round_number=1, accepted=("anna",), rejected={"carl": "too long"}, scores={}),
    closed(1),
    RoundOpened(round_number=2, cohort=("anna",)),
    ENDED,
]
"""A run whose second round is open when it ends; they are a second apart."""


def spans(folder: Path, *events: Event) -> dict[str, Span]:
    """What comes of events that are a second apart, by its name."""
    stamped = [
        event.model_copy(update={"run_id": "run", "time": (NOON + timedelta(seconds=index)).isoformat()})
        for index, event in enumerate(events)
    ]
    with collector() as (url, found):
        tell(folder, f"otel:{url}", *stamped)
    return {span.name: span for span in found}


def test_a_run_is_a_trace_of_rounds_and_orders(tmp_path: Path) -> None:
    # Given a run of two rounds, when it is told, then each span is the child of what it is a part of
    found = spans(tmp_path, *EVENTS)
    names = {span.own: span.name for span in found.values()}
    assert {span.name: names.get(span.parent) for span in found.values()} == {
        "run run": None,
        "round 1": "run run",
        "round 2": "run run",
        "order bert": "round 1",
        "order carl": "round 1",
        "order anna": "round 2",
    }
    assert len({span.trace for span in found.values()}) == 1
    # And is as long as that took
    assert {name: found[name].seconds for name in ("run run", "round 1", "order bert")} == {
        "run run": 8.0, "round 1": 5.0, "order bert": 3.0,
    }  # fmt: skip
    # And says what went wrong
    assert found["order bert"].error == "the client vanished"
    assert found["round 2"].error == found["order carl"].error == "the run ended"
    assert found["round 1"].error == found["run run"].error == ""
    assert found["order bert"].attributes["celeriac.status"] == "lost"


def test_no_metric_of_a_client_s_stands_in_for_what_the_orchestrator_says(tmp_path: Path) -> None:
    # Given a client that names metrics as what a span says by itself
    named = {"status": 1.0, "num_accepted": 99.0, "size_bytes": 0.5}
    slots = {"anna": TRAINED.model_copy(update={"metrics": named})}
    events = (EVENTS[1], SlotsFilled(round_number=1, slots=slots), closed(1, train_metrics=named))
    # When it is told, then the spans say it as it is
    found = spans(tmp_path, STARTED, *events, ENDED)
    assert found["order anna"].attributes["celeriac.status"] == "trained"
    assert found["round 1"].attributes["celeriac.status"] == "closed"
    assert found["round 1"].attributes["celeriac.num_accepted"] != 99.0


@pytest.mark.parametrize("parameter", ["collector:4318", "ftp://collector", "4318", "http://[::1"])
def test_what_is_no_address_is_refused(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match="the address of a collector is needed"):
        load_observer(f"otel:{parameter}")


def test_without_an_address_the_environment_has_to_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    with pytest.raises(ConfigurationError, match="doesn't know where to send spans"):
        load_observer("otel")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    load_observer("otel")
