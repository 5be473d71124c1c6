"""Clients of one machine that are let in without an operator, at a real broker over TLS: as Compose has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from tasks.broker.connection import connect
from tasks.trust.enrolment import Enrolment
from tests.integration.enrolled import Federation
from tests.integration.harness import Field, free_port, history, wait_until

ASK = "python -m worker.enrol ask --requests ../requests --packages ../packages"


def admitted(federation: Federation, name: str) -> None:
    """Have a client ask, and start its worker, which has to know no more."""
    federation.site(name).mkdir()
    federation.done(ASK, federation.site(name), CLIENT_ID=name, **federation.environment(name))
    federation.start_client(name)


def test_who_asks_on_this_machine_trains_and_one_more_joins_later(field: Field, tmp_path: Path) -> None:
    # Given an operator's folder, its broker, and folders in which clients ask and find the answer
    federation = Federation(field, tmp_path, free_port())
    federation.init()
    broker = federation.start_broker()
    handed = [tmp_path / name for name in ("requests", "packages")]
    for folder in handed:
        folder.mkdir()
    words = ("--requests", str(handed[0]), "--packages", str(handed[1]))
    field.start("admission", "orchestrator.trust", "admit", "operator", *words, cwd=federation.desk)
    # When two clients ask, and a run begins
    for name in ("anna", "berta"):
        admitted(federation, name)
    run = federation.start_run("--rounds", "3")
    run.succeeds()
    assert sorted(history(federation.desk / "run")[-1]["responses"]) == ["anna", "berta"]
    # And the broker is started anew, and one more asks
    broker.end()
    federation.start_broker()
    admitted(federation, "clara")
    # Then the broker lets in all three, and none of them has more than its own
    wait_until(lambda: "client-clara" in federation.users(), "the third has connected")
    with connect(federation.authority.broker_url) as redis:
        assert {"client-anna", "client-berta", "client-clara"} <= set(redis.acl_users())
    own = Enrolment(federation.site("clara") / "state" / "enrolment")
    with connect(own.broker_url, retries=0) as redis, pytest.raises(NoPermissionError):
        redis.llen("client.anna")
