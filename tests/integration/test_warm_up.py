"""Clients are ready before they are announced: nothing that training does only once takes time of their first order."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration.harness import Field, history


def first_metrics(field: Field, broker: Redis, run_dir: Path, workload: str) -> dict[str, float]:
    """What the only client of a run, which has all of the digits that nobody holds out, tells of its first order."""
    field.client(broker, "client-1", CLIENT_WORKLOAD=workload, CLIENT_PART="1/1")
    program = field.run(
        run_dir, "--rounds 1 --clients 1 --epochs 1 --no-evaluate-clients", broker=broker, workload=workload
    )
    program.succeeds()
    metrics: dict[str, float] = history(run_dir)[0]["responses"]["client-1"]["metrics"]
    return metrics


def test_the_first_order_imports_next_to_nothing(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client that has a worker to itself, when it carries out its first order
    metrics = first_metrics(field, broker, tmp_path / "run", "importing:Importing")
    # Then torch has imported its hundreds of modules before, and the workload got ready with the client's 1,294 digits
    assert metrics["num_imported"] < 20
    assert metrics["num_warmed_up"] == 1294


def test_a_workload_that_cant_get_ready_is_given_orders_all_the_same(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a workload whose warm_up() raises, when its client is given an order, then it trains
    assert first_metrics(field, broker, tmp_path / "run", "importing:Unready")["num_warmed_up"] == 0
