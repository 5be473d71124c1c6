"""Whose processor seconds of which orders a run's observers are told, through Celery's eager mode."""

from __future__ import annotations

from pathlib import Path

from orchestrator.observers.events import JobDone, OrdersAnswered, SlotsFilled
from tests.eager.federation import EXAMPLES, Federation

ASKING_FIRST = "tests.support:ASKING_FIRST"


def test_all_orders_of_a_run_tell_what_they_took(tmp_path: Path) -> None:
    # Given a run whose clients are surveyed, train, score each other, and evaluate
    federation = Federation(tmp_path)
    federation.algorithm = ASKING_FIRST
    federation.join_all()
    # When it is carried out
    folder = federation.run(rounds=1, algorithm=ASKING_FIRST, verify=("peers",))
    # Then observers are told of each of these orders what each client took
    told = {each.order: each.cpu_s for each in federation.events if isinstance(each, OrdersAnswered)}
    assert list(told) == ["survey", "verify", "evaluate", "set_parameters", "disconnect"]
    assert all(cpu_s.keys() == EXAMPLES.keys() and min(cpu_s.values()) > 0 for cpu_s in told.values())
    trained = {
        name: slot for each in federation.events if isinstance(each, SlotsFilled) for name, slot in each.slots.items()
    }
    assert trained.keys() == EXAMPLES.keys()
    # And the history has what the updates took, and the own workers' jobs tell theirs
    records = folder.history()[0].responses
    assert {name: slot.cpu_s for name, slot in trained.items()} == {name: each.cpu_s for name, each in records.items()}
    assert min(each.cpu_s for each in records.values()) > 0
    assert min(each.cpu_s for each in federation.events if isinstance(each, JobDone)) > 0
