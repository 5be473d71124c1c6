"""Celery's commands at a federation whose clients are enrolled: they see own workers, no client's, and only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import NoPermissionError

from tests.integration.harness import Field, Program, part, present, wait_until
from tests.integration.ruled import Ruled, ruled

OWN = "own@here"


@pytest.fixture
def broker(field: Field) -> Iterator[Ruled]:
    """A server with a worker of the orchestrator's and a client's, each under its rules."""
    with ruled({"anna": None}) as started:
        command = ("celery", "-A", "orchestrator", "worker", "-n", OWN, "-c", "1", "-l", "INFO")
        own = field.start("own", *command, CELERY_BROKER_URL=started.orchestrator)
        field.client(started.client("anna"), "anna", "-n", "anna@here", **part(1, 1))
        wait_until(lambda: "anna" in present(started.server.client), "the client is there")
        wait_until(lambda: f"{OWN} ready" in own.output, "the own worker is ready")
        yield started
        field.end()


def asking(field: Field, broker: Ruled, *command: str) -> Program:
    """One of Celery's commands, by the orchestrators' user. What asks all that are there waits to the last second."""
    return field.start("tool", "celery", "-A", "orchestrator", *command, CELERY_BROKER_URL=broker.orchestrator)


def answered(program: Program) -> str:
    """What one of Celery's commands has said, when it has ended."""
    program.wait()
    return program.output


def test_celerys_commands_see_own_workers_and_only_look(field: Field, broker: Ruled) -> None:
    # Given an own worker and a client's, when Celery's commands ask who is there, then the own one alone answers
    status = asking(field, broker, "status", "--timeout", "20")
    stats, registered = (asking(field, broker, "inspect", "--timeout", "20", what) for what in ("stats", "registered"))
    assert f"{OWN}: OK" in answered(status)
    assert "1 node online" in status.output
    assert "prefetch_count" in answered(stats)
    assert "orchestrator.ingest" in answered(registered)
    # And none can end it
    answered(asking(field, broker, "control", "--timeout", "1", "shutdown"))
    assert f"{OWN}: OK" in answered(asking(field, broker, "status", "--timeout", "20", "--destination", OWN))
    # And nobody was denied anything, nor is anything left of it at the broker
    assert not broker.denied()
    assert not [key for key in broker.server.client.scan_iter() if b"pidbox" in key]


def test_a_client_can_ask_no_worker(broker: Ruled) -> None:
    # Given a client's credential, when it broadcasts as Celery's commands do, then that is denied
    with broker.connection_of("anna") as anna, pytest.raises(NoPermissionError):
        anna.publish("/0.celery.pidbox", "{}")
    with broker.connection_of("anna") as anna, pytest.raises(NoPermissionError):
        anna.execute_command("PSUBSCRIBE", "*")
