from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.broker.needs import of_client
from tasks.broker.rules import client_rules, orchestrator_rules, user_name
from tasks.names import numbered_client_id
from tasks.scope import (
    ALL_KEYS,
    BLOB_KEYS,
    PRESENCE_CHANNEL,
    ClientScope,
    RunScope,
    chord_keys,
    result_key,
    shared_queue,
    turn_key,
)

IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,8}\Z")


def written(rules: tuple[str, ...]) -> list[str]:
    """Patterns of the keys that may be written."""
    return [rule[1:] for rule in rules if rule.startswith("~")]


def names(client_id: str) -> list[str]:
    """What a client writes."""
    client = ClientScope(client_id)
    update = client.update("run", 3)
    answer = result_key(client.order_id("run", 3, "train"))
    return [client.key, client.away_key, client.wants_part_key, f"{update}:0", turn_key(update), answer]


def may_write(rules: tuple[str, ...], key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in written(rules))


def test_a_client_s_rules_are_these() -> None:
    # Given a client, when its rules are asked for, then it may do this and nothing else
    assert client_rules("anna") == (
        "resetkeys", "resetchannels", "-@all",
        "+ping", "+time", "+select", "+multi", "+exec", "+discard",
        "+get", "+mget", "+getrange", "+exists", "+set", "+setex", "+pexpire", "+del", "+unlink",
        "+brpop", "+llen", "+blmove", "+publish",
        "%R~fl:federation", "%R~fl:blob:model/*", "%R~fl:blob:handed-out/*",
        "%R~fl:passed-over:anna", "%R~fl:part:anna",
        "~client.anna", "~celery-task-meta-client/anna/*", "~fl:blob:update/anna/*",
        "~fl:client:anna", "~fl:away:anna", "~fl:wants-part:anna",
        "&celery-task-meta-client/anna/*", "&fl:presence",
    )  # fmt: skip
    assert user_name("anna") == "client-anna"


@given(one=IDS, other=IDS)
def test_a_client_writes_all_that_is_its_own_and_nothing_of_another_s(one: str, other: str) -> None:
    # Given two clients, when the one's rules are asked for, then it may write what is its own, and nothing else
    assume(one != other)
    rules, run = client_rules(one), RunScope(other)
    assert all(may_write(rules, name) for name in (ClientScope(one).queue, *names(one)))
    strange = [ClientScope(other).queue, *names(other), "orchestrator", run.queue, run.mark_key, f"{run.model(0)}:0"]
    assert not any(may_write(rules, name) for name in (*strange, *chord_keys(run.new_chord_id(1))))
    assert not any(may_write(rules, name) for name in (ClientScope(one).part_key, ClientScope(one).passed_over_key))


@given(prefix=IDS, other=IDS, count=st.integers(1, 1200))
def test_a_worker_of_many_writes_what_is_theirs_and_nothing_of_others(prefix: str, other: str, count: int) -> None:
    # Given a worker of many clients, when its rules are asked for, then it may write what is each one's
    rules = client_rules(prefix, count)
    ids = [numbered_client_id(prefix, index, count) for index in (0, count - 1)]
    assert all(may_write(rules, name) for client_id in ids for name in names(client_id))
    assert may_write(rules, shared_queue(prefix, count))
    # And nothing of others', of whatever number, nor a queue of a client alone
    digits = len(str(count))
    others = [prefix, f"{prefix}-{'1' * (digits + 1)}", f"{prefix}-{'x' * digits}", f"{prefix}-1-{'1' * digits}"]
    others += [] if other == prefix else [f"{other}-{'1' * digits}"]
    assert not any(may_write(rules, name) for client_id in others for name in names(client_id))
    assert not any(may_write(rules, ClientScope(client_id).queue) for client_id in (*ids, *others))


def test_the_orchestrator_has_all_keys() -> None:
    # Given all that a client and a run have, when the orchestrator's rules are asked for, then it may write it
    run, rules = RunScope("run"), orchestrator_rules()
    keys = [
        "orchestrator",
        run.queue,
        run.mark_key,
        f"{run.model(0)}:0",
        *chord_keys(run.new_chord_id(1)),
        *names("anna"),
    ]
    keys += [ClientScope("anna").part_key, ClientScope("anna").passed_over_key, ClientScope("anna").queue]
    assert all(may_write(rules, key) for key in keys)
    assert any(fnmatchcase(BLOB_KEYS, pattern) for pattern in ALL_KEYS)
    # And it may not stop the server or empty it
    assert "-@dangerous" in rules
    assert "+@all" not in rules


@pytest.mark.parametrize("count", [None, 50])
def test_a_client_may_do_all_that_it_needs_and_no_other_command(count: int | None) -> None:
    # Given a client, or a worker of many, when all that it does is looked for in its rules, then it is there
    client_id, queue = ("anna", "client.anna") if count is None else ("anna-07", shared_queue("anna", 50))
    rules = client_rules("anna", count)
    readable = written(rules) + [rule[len("%R~") :] for rule in rules if rule.startswith("%R~")]
    needed = of_client(client_id, queue)
    for command, *words in needed.commands:
        assert f"+{command.lower()}" in rules
        is_key = [":" in word or "celery" in word or "client" in word for word in words]
        assert all(
            any(fnmatchcase(word, pattern) for pattern in [*readable, PRESENCE_CHANNEL])
            for word, is_one in zip(words, is_key, strict=True)
            if is_one
        )
    # And the others are for connections and transactions
    allowed = {rule[1:].upper() for rule in rules if rule.startswith("+")}
    assert allowed - {command for command, *_ in needed.commands} == {"SELECT", "MULTI", "EXEC", "DISCARD"}
    assert not needed.patterns
    assert not needed.channels
