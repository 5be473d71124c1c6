"""What a client's process does at a real broker beside taking orders."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from tasks.broker import run_lock
from tasks.broker.connection import connect_quickly
from tasks.broker.turns import GO, RedisTurns
from tasks.protocol import PROTOCOL
from tasks.scope import RUN_LOCK_KEY, ClientScope, result_key
from tests.integration import harness
from tests.support import announcement
from worker.connection import Absence, RedisConnection, read_told


@pytest.fixture
def connection(broker: Redis) -> RedisConnection:
    return RedisConnection(broker)


def test_its_time_is_the_brokers(connection: RedisConnection, broker: Redis) -> None:
    # Given the broker's clock, when a client looks at the time before and after, then it is that clock's
    before, (seconds, microseconds), after = connection.time(), broker.time(), connection.time()
    assert before - 1 <= seconds + microseconds / 1e6 <= after + 1


def test_an_order_is_answered_when_its_result_is_stored(connection: RedisConnection, broker: Redis) -> None:
    # Given an order, when its answer is stored, then that is known
    assert not connection.is_answered("run/1/anna/train")
    broker.set(result_key("run/1/anna/train"), "{}")
    assert connection.is_answered("run/1/anna/train")


def test_an_update_is_sent_when_it_is_its_turn(connection: RedisConnection, broker: Redis) -> None:
    # Given a client that was told to send, when it waits for its turn, then it doesn't wait
    RedisTurns(broker).give("fl:blob:model/run/1", GO)
    connection.wait_for_turn("fl:blob:model/run/1", "run", timeout_s=240)


@pytest.mark.parametrize(
    ("seconds", "absence", "afterwards"),
    [(60.0, Absence.FOR_NOW, Absence.FOR_NOW), (0.0, Absence.FOR_GOOD, Absence.NONE)],
)
def test_a_client_that_leaves_is_there_no_more_and_its_heartbeat_is_told(
    connection: RedisConnection, broker: Redis, seconds: float, absence: Absence, afterwards: Absence
) -> None:
    # Given a client that is announced
    broker.set(ClientScope("anna").key, announcement("anna", "first").model_dump_json())
    # When it leaves, for a minute or for good
    connection.leave("anna", "first", seconds, "run")
    # Then it isn't announced, and its heartbeat hears of it; of leaving for good once
    assert not broker.exists(ClientScope("anna").key)
    assert read_told(broker, {"anna": "first"})[0]["anna"].absence is absence
    assert read_told(broker, {"anna": "first"})[0]["anna"].absence is afterwards
    # And a start of another time is welcome after leaving for good
    connection.leave("anna", "first", 0, "run")
    assert read_told(broker, {"anna": "second"})[0]["anna"].absence is Absence.NONE


@pytest.mark.parametrize(("seconds", "absence"), [(60.0, Absence.NONE), (0.0, Absence.FOR_GOOD)])
def test_a_client_that_leaves_one_run_is_there_for_another_that_is_on(
    connection: RedisConnection, broker: Redis, seconds: float, absence: Absence
) -> None:
    # Given a client that is announced, and two runs that are on
    broker.set(ClientScope("anna").key, announcement("anna", "first").model_dump_json())
    for run_id in ("run", "other"):
        run_lock.RunLock(broker, run_lock.Notice(run_id=run_id, num_parts=1)).put_up()
    # When it leaves one of them, then it is announced still, and its heartbeat hears which one it has left
    connection.leave("anna", "first", seconds, "run")
    assert broker.exists(ClientScope("anna").key)
    told, notices = read_told(broker, {"anna": "first"})
    assert (told["anna"].absence, told["anna"].left) == (absence, "run" if absence is Absence.FOR_GOOD else "")
    assert [notice.run_id for notice in notices] == ["run", "other"]


def test_a_client_that_leaves_for_a_moment_may_come_back_then(connection: RedisConnection, broker: Redis) -> None:
    # Given a client that is to stay away for a tenth of a second, when that is over, then nothing keeps it away
    connection.leave("anna", "first", 0.1, "run")
    time.sleep(0.2)
    assert read_told(broker, {"anna": "first"})[0]["anna"].absence is Absence.NONE


def test_nobody_is_told_nothing(broker: Redis) -> None:
    assert read_told(broker, {}) == ({}, [])


def test_what_a_run_wants_announced_is_in_its_notice(broker: Redis) -> None:
    # Given a client, when it looks what is wanted, then it is what the run says that is on; of none nothing is known
    client = connect_quickly(harness.url(broker))
    assert read_told(broker, {"anna": "first"})[1] == []
    notice = run_lock.Notice(run_id="run", num_parts=1, wants=("labels",))
    run_lock.RunLock(client, notice).put_up()
    [found] = read_told(broker, {"anna": "first"})[1]
    assert found.wanted == ("labels",)
    # And of a run that speaks another protocol it is nothing
    broker.set(RUN_LOCK_KEY, notice.model_copy(update={"protocol": PROTOCOL + 1}).model_dump_json())
    [found] = read_told(broker, {"anna": "first"})[1]
    assert found.wanted == ()
