"""Clients that come while a run is on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from tasks.broker.presence import RedisRegistry
from tasks.scope import ClientScope
from tests.integration import harness
from tests.integration.harness import Field, Program, history, part, wait_until
from tests.support import announcement
from worker.connection import Absence, Told, read_told


def start(field: Field, broker: Redis, run_dir: Path, accept: str) -> tuple[Program, Path]:
    """Start a run of three rounds with one client; return it when the first is open, and the file that holds that."""
    held = run_dir.with_name("held")
    held.touch()
    field.client(broker, "client-1", **part(1, 2), HELD=str(held))
    program = field.run(run_dir, f"--rounds 3 --clients 1 --accept {accept} --no-evaluate-clients", broker=broker)
    wait_until(lambda: "round 1 opened" in program.output, "the first round is open")
    return program, held


@pytest.mark.parametrize(
    ("accept", "cohorts"),
    [
        ("live", [["client-1", "client-2"]] * 3),
        ("next", [["client-1"], ["client-1", "client-2"], ["client-1", "client-2"]]),
        ("closed", [["client-1"]] * 3),
    ],
)
def test_a_client_that_comes_while_a_round_is_open(
    field: Field, broker: Redis, tmp_path: Path, accept: str, cohorts: list[list[str]]
) -> None:
    # Given a round that is open
    run_dir = tmp_path / "run"
    program, held = start(field, broker, run_dir, accept)

    # When another client is started, and the round goes on after it has come
    second = field.client(broker, "client-2", **part(2, 2))
    why = "client client-2: passed over by the run: it came after the run had begun, and the run takes in no more"
    come = {
        "live": lambda: "round 1: client client-2 joined it live" in program.output,
        "next": lambda: "client client-2 joined with" in program.output,
        "closed": lambda: why in second.output,
    }
    wait_until(come[accept], f"it has come: {program.output}")
    held.unlink()

    # Then it is in that round's cohort, or from the next on, or never, as the policy says
    program.succeeds()
    records = history(run_dir)
    assert [record["cohort"] for record in records] == cohorts
    assert [sorted(record["responses"]) for record in records] == cohorts
    assert all(response["status"] == "trained" for record in records for response in record["responses"].values())
    # And if it is never, its own log says why, once
    assert second.output.count(why) == (1 if accept == "closed" else 0)


def test_what_a_former_start_of_a_client_was_told_is_not_told_to_the_next(broker: Redis) -> None:
    # Given two clients that were told why they are passed over, one of which was started anew since
    registry = RedisRegistry(broker)
    reasons = {said.client_id: (said, "no\nreason") for said in (announcement("anna"), announcement("bert"))}
    registry.say_passed_over(reasons)
    # When they look what they were told, then it is in one line, and nothing for the one that was told before
    assert read_told(broker, {"anna": "first", "bert": "second", "carl": "first"})[0] == {
        "anna": Told(Absence.NONE, passed_over=r"no\nreason"),
        "bert": Told(Absence.NONE),
        "carl": Told(Absence.NONE),
    }
    # And it goes by itself: within 2.5 heartbeats of two seconds
    assert 0 < broker.pttl(ClientScope("anna").passed_over_key) <= 5_000


def test_the_update_of_a_client_that_joined_live_is_in_the_average(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a run in which a second client joins the first round live, and one in which both are there from the start
    live = tmp_path / "live"
    program, held = start(field, broker, live, "live")
    field.client(broker, "client-2", **part(2, 2))
    wait_until(lambda: "round 1: client client-2 joined it live" in program.output, "the second has joined")
    held.unlink()
    program.succeeds()
    both = harness.undisturbed(tmp_path, rounds=3)

    # Then the models are the same
    assert harness.checkpoint(live, 1) == harness.checkpoint(both, 1)
    assert harness.checkpoint(live, 3) == harness.checkpoint(both, 3)


def test_a_client_that_is_frozen_is_lost_and_comes_back_and_its_late_answer_is_not_counted(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a round in which one client trains
    run_dir = tmp_path / "run"
    field.client(broker, "client-1", **part(1, 2), STEP_S="0.6")
    frozen = field.client(broker, "client-2", **part(2, 2), STEP_S="0.6")
    program = field.run(run_dir, "--rounds 4", broker=broker)
    wait_until(lambda: "/train: begun" in frozen.output, "it trains")

    # When the machine that it's on is cut off: neither its worker nor its pool process moves
    processes = [frozen.process.pid, *(process.pid for process in frozen.descendants())]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "client client-2 lost: the client vanished" in program.output, "its slot is filled as lost")
    wait_until(lambda: history(run_dir), "the round is closed")
    for pid in processes:
        os.kill(pid, signal.SIGCONT)

    # Then the round was closed without it, its late answer is recorded and not counted, and it is in a later round
    program.succeeds()
    records = history(run_dir)
    assert records[0]["responses"]["client-2"]["status"] == "lost"
    late = [entry for record in records for entry in record["late"]]
    assert [(entry["client_id"], entry["order_id"].split("/")[-2:]) for entry in late] == [("client-2", ["1", "train"])]
    assert records[-1]["responses"]["client-2"]["status"] == "trained"


def test_announcements_that_are_too_long_or_none_at_all_are_passed_over_unread(broker: Redis) -> None:
    # Given a client, 2,500 strangers, and beside them a label of 1 MB, a number of 4,000 digits, and a list
    broker.mset({ClientScope(f"s{index}").key: announcement(f"s{index}").model_dump_json() for index in range(2_500)})
    registry = RedisRegistry(broker)
    registry.announce_all([announcement("anna")])
    text = announcement("long", labels={"7": 1}).model_dump_json()
    broker.set(ClientScope("long").key, text.replace('"7"', f'"{"7" * 2**20}"'))
    broker.set(ClientScope("large").key, text.replace('"long"', '"large"').replace(":1", f":1{'0' * 4000}"))
    broker.rpush(ClientScope("list").key, "1")
    before = broker.info("stats")["total_net_output_bytes"]
    # When one looks, and looks again
    looks = [registry.present() for _ in range(2)]
    # Then those that are announcements are found each time, and the long one wasn't sent
    expected = {"anna", *(f"s{index}" for index in range(2_500))}
    assert [set(found) for found in looks] == [expected, expected]
    assert broker.info("stats")["total_net_output_bytes"] - before < 3 * 2_500 * len(text)
