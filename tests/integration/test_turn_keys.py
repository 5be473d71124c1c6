"""How a client is told that it is its turn, on a real server."""

from __future__ import annotations

import itertools
import threading

import pytest
from redis import Redis

from tasks.broker import run_lock
from tasks.broker.turns import GO, STOP, NotWantedError, RedisTurns
from tasks.scope import turn_key

UPDATE = "fl:blob:update/anna/run/1"
PATIENCE_S = 120.0


def test_a_word_that_comes_while_one_waits_is_heard_and_stays(broker: Redis) -> None:
    # Given a client that waits
    turns = RedisTurns(broker)
    timer = threading.Timer(0.2, turns.give, [UPDATE])
    timer.start()
    # When it is its turn, then it is told so, and again if it asks again, as after a connection that broke
    for _ in range(2):
        turns.wait(UPDATE, "run", PATIENCE_S)
    timer.join()
    # And it is kept no longer than for some minutes
    assert 0 < broker.ttl(turn_key(UPDATE)) <= 600
    turns.take_away([UPDATE])
    assert broker.keys("*") == []


def test_the_last_word_counts_however_often_it_was_given(broker: Redis) -> None:
    # Given a client that was told that it is its turn, and then again and again that it isn't
    turns = RedisTurns(broker)
    turns.give(UPDATE)
    for _ in range(3):
        turns.give(UPDATE, STOP)
    # When it asks, then it is to stop, and one word is all that is kept
    with pytest.raises(NotWantedError, match="its round is over"):
        turns.wait(UPDATE, "run", PATIENCE_S)
    assert broker.llen(turn_key(UPDATE)) == 1


def test_what_a_client_has_put_in_its_place_is_replaced(broker: Redis) -> None:
    # Given a client that has put something else where it is to be told
    broker.set(turn_key(UPDATE), b"mine")
    turns = RedisTurns(broker)
    # When it is its turn, then it is told so, and one word is all that is kept
    turns.give(UPDATE)
    turns.wait(UPDATE, "run", PATIENCE_S)
    assert broker.lrange(turn_key(UPDATE), 0, -1) == [GO]


def test_who_waits_for_a_run_that_is_gone_lets_go_when_another_begins(broker: Redis) -> None:
    # Given the notice of the run that an update is for, then the client waits as long as it may
    turns = RedisTurns(broker)
    run_lock.RunLock(broker, run_lock.Notice(run_id="run", num_parts=1)).put_up()
    with pytest.raises(NotWantedError, match="within 0 s"):
        turns.wait(UPDATE, "run", 1e-6)
    # When there is another's beside it, then it waits likewise; when there are others' alone, then it lets go
    run_lock.RunLock(broker, run_lock.Notice(run_id="other", num_parts=1)).put_up()
    with pytest.raises(NotWantedError, match="within 0 s"):
        turns.wait(UPDATE, "other", 1e-6)
    with pytest.raises(NotWantedError, match="run run has begun"):
        RedisTurns(broker, itertools.count(step=run_lock.LIFETIME_S).__next__).wait(UPDATE, "former", PATIENCE_S)
