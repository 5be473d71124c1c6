"""A real run as one trace: the orchestrator, its own worker and clients' processes tell a collector what they did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.integration.harness import Field, history, wait_until
from tests.otlp import Span, collector


def test_a_clients_training_is_a_child_of_its_order_in_its_round(field: Field, tmp_path: Path) -> None:
    # Given a collector that the run is told of, and its clients by their environment
    with collector() as (url, found):
        # When it is over
        options = "--clients 2 --rounds 2"
        field.run(tmp_path / "run", options, "--observe", f"otel:{url}", OTEL_EXPORTER_OTLP_ENDPOINT=url).succeeds()
        wait_until(lambda: have_come(found, num_orders=4, num_rounds=2), "all spans have come")
    # Then each training is below its client's order, that below its round, and that below the run
    by_id = {span.own: span for span in found}
    for span in [span for span in found if span.name == "train"]:
        order = by_id[span.parent]
        round_ = by_id[order.parent]
        assert order.name.startswith("order client-")
        assert round_.name == f"round {span.attributes['celeriac.round_number']}"
        assert by_id[round_.parent].name.startswith("run ")
    # And what takes updates in is below the round, and linked to their orders
    ingests = [span for span in found if span.name == "ingest"]
    assert {by_id[span.parent].name for span in ingests} == {"round 1", "round 2"}
    orders = Counter(by_id[own].name for span in ingests for own in span.links)
    assert orders == {"order client-1": 2, "order client-2": 2}
    assert services(found, "train") == {"celeriac-client"}
    assert services(found, "ingest") == services(found, "close_round") == {"celeriac-jobs"}
    assert len({span.trace for span in found}) == 1


def have_come(found: list[Span], num_orders: int, num_rounds: int) -> bool:
    """Say whether the spans of all orders, and of what own workers made of their answers, are there."""
    names = Counter(span.name for span in found)
    taken_in = sum(len(span.links) for span in found if span.name == "ingest")
    return names["train"] == taken_in == num_orders and names["close_round"] == num_rounds


def services(found: list[Span], name: str) -> set[str]:
    """Where spans of a name come from."""
    return {span.service for span in found if span.name == name}


def test_a_collector_that_isnt_there_costs_a_run_nothing(field: Field, tmp_path: Path) -> None:
    # Given an address at which nobody listens, when a run is to tell it, then the run completes
    url = "http://127.0.0.1:9"
    program = field.run(
        tmp_path / "run", "--clients 2 --rounds 2", "--observe", f"otel:{url}", OTEL_EXPORTER_OTLP_ENDPOINT=url
    )
    program.succeeds()
    assert len(history(tmp_path / "run")) == 2
