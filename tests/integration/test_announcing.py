"""What leaves a client before it is asked anything: as much as the run that is on goes by, and no more."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tasks.announcement import DETAILS, UNKNOWN, Announcement
from tasks.broker import run_lock
from tasks.broker.connection import connect_quickly
from tests.integration import harness
from tests.integration.harness import Field, history, part, wait_until

WORKLOAD = "labelled:Labelled"
LABELS = {"1": 9, "common": 1}


def said(broker: Redis) -> Announcement | None:
    """What the client announces."""
    found = harness.announcement(broker, "client-1")
    return Announcement.model_validate(found) if found else None


def wait_for(broker: Redis, told: Collection[str]) -> Announcement:
    """Wait until the client announces these details and no others."""

    def look() -> Announcement | None:
        found = said(broker)
        return found if found and set(found.untold) == {*DETAILS} - {*told} else None

    return wait_until(look, f"it tells {', '.join(told) or 'no details'}")  # type: ignore[no-any-return]


def client(field: Field, broker: Redis, **environment: str) -> harness.Program:
    """A client with the first of two parts, which has joined before any run is on, and so tells no details."""
    program = field.client(broker, "client-1", **part(1, 2), CLIENT_WORKLOAD=WORKLOAD, **environment)
    assert wait_for(broker, ()).labels == {}
    return program


def test_a_run_by_default_is_told_no_details(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client, and a run as it is by default
    program = client(field, broker)
    everything: list[Announcement] = []

    def look() -> None:
        if (found := said(broker)) is not None:
            everything.append(found)

    # When it is carried out, and all that is announced meanwhile is written down
    with harness.watched(look):
        field.run(tmp_path / "run", "--clients 1 --rounds 2", broker=broker, workload=WORKLOAD).succeeds()
        program.succeeds()
    # Then no announcement has labels or hardware
    assert len(history(tmp_path / "run")) == 2
    assert everything
    assert all((each.labels, each.hardware, each.untold) == ({}, UNKNOWN, DETAILS) for each in everything)


def test_runs_one_after_the_other_are_told_what_each_goes_by(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client that comes back after each run
    client(field, broker, STEP_S="0.01")

    def run(name: str, select: str) -> harness.Program:
        options = f"--clients 1 --rounds 1000 --reconnect-after 1 --select {select}"
        return field.run(tmp_path / name, options, broker=broker, workload=WORKLOAD)

    # When a run is on that goes by nothing, then nothing is told
    first = run("first", "random")
    wait_until(lambda: history(tmp_path / "first"), "a round is closed")
    assert said(broker) == wait_for(broker, ())
    stop(first)
    # When one follows that goes by labels, then the client tells these alone, and takes part
    second = run("second", "where:labels=1+common")
    told = wait_for(broker, ("labels",))
    assert (told.labels, told.hardware) == (LABELS, UNKNOWN)
    wait_until(lambda: history(tmp_path / "second"), "a round is closed")
    assert history(tmp_path / "second")[0]["cohort"] == ["client-1"]
    stop(second)
    # When one goes by processors and memory, then it tells these, and no labels any more
    third = run("third", "where:min-cpus=1,min-memory-gb=0.01")
    told = wait_for(broker, ("num_cpus", "memory_bytes"))
    assert told.labels == {}
    assert told.hardware.memory_bytes > 10**7
    wait_until(lambda: history(tmp_path / "third"), "a round is closed")
    stop(third)
    # And when no run is on, it tells nothing again
    wait_for(broker, ())


def stop(program: harness.Program) -> None:
    """End a run in good order."""
    program.process.terminate()
    program.wait()


@pytest.mark.parametrize("tells", ["", "[tells]\nlabels = true\n"])
def test_a_site_that_forbids_it_tells_nothing_whatever_a_run_wants(
    field: Field, broker: Redis, tmp_path: Path, tells: str
) -> None:
    # Given a client whose site allows to tell labels, or doesn't, and no hardware in any case
    policy = tmp_path / "policy.toml"
    policy.write_text(f'orders = ["train", "evaluate", "disconnect"]\nalgorithms = ["fedavg"]\n{tells}')
    program = client(field, broker, CLIENT_POLICY=str(policy))
    everything: list[Announcement] = []

    def look() -> None:
        if (found := said(broker)) is not None:
            everything.append(found)

    # When a run goes by labels
    options: list[Any] = ["--clients 1 --rounds 1 --select where:labels=1 --wait-timeout", "60" if tells else "5"]
    with harness.watched(look):
        started = field.run(tmp_path / "run", *options, broker=broker, workload=WORKLOAD)
        ended = started.wait()
        if tells:
            program.succeeds()
    # Then the client takes part only if it tells them; if not, both sides know why
    assert {bool(each.labels) for each in everything} == ({False, True} if tells else {False})
    assert all(each.hardware == UNKNOWN for each in everything)
    assert (ended == 0) == bool(tells), started.output
    if not tells:
        assert "0 of 1 connected clients fit 'where:labels=1', 1 are needed" in started.output
        assert "passed over by the run: it doesn't fit the run's --select where:labels=1" in program.output


def test_a_notice_that_is_away_for_a_moment_changes_nothing(field: Field, broker: Redis) -> None:
    # Given a client that tells its labels, as a run goes by them
    program = client(field, broker, CLIENT_HEARTBEAT_S="0.1")
    notice = run_lock.Notice(run_id="run", num_parts=2, wants=("labels",))
    lock = run_lock.RunLock(connect_quickly(harness.url(broker)), notice)
    lock.put_up()
    told = wait_for(broker, ("labels",))
    # When the notice is gone, as at a broker that was emptied, then it tells them as long as a notice would last
    lock.take_down()
    broker.delete(*broker.keys("fl:client:*"))
    assert wait_until(lambda: said(broker), "it is announced again") == told
    # And no longer; each change is in its log
    assert wait_for(broker, ()).labels == {}
    lines = [line for line in program.output.splitlines() if "announced as the run wants" in line]
    assert [line.rpartition("wants it: ")[2] for line in lines] == ["labels", "no details"]
