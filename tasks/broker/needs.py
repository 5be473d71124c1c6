"""What each side does at the broker: the commands, the keys and channels they are for, and room for connections.

The broker is asked for all of it when a side starts (:mod:`tasks.broker.probe`), so that what it lacks, or what its
access rules forbid, is told then and not in the middle of a round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.scope import (
    ORCHESTRATOR_QUEUE,
    PRESENCE_CHANNEL,
    RUN_LOCK_KEY,
    ClientScope,
    RunScope,
    chord_keys,
    result_key,
    turn_key,
)

Words = tuple[str, ...]
NUM_CLIENT_CONNECTIONS = 3
"""Connections that a client's worker holds: for its orders, for signs of life, and for its one pool process."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a side does at the broker.

    Attributes:
        num_connections: How many connections it opens, about.
        commands: Commands with keys as it uses them; none is carried out.
        patterns: Patterns of channels that it listens to.
        channels: Channels that it listens to.
    """

    num_connections: int
    commands: tuple[Words, ...] = field(repr=False)
    patterns: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


def of_orchestrator(run_id: str) -> Needs:
    """Return what an orchestrator and its own worker need."""
    run = RunScope(run_id)
    mark, result, chunk = run.mark_key, result_key(run.initialise_id), f"{run.model(0)}:0"
    client, (done, size) = ClientScope("").key, chord_keys(run.initialise_id)
    commands = (
        *_of_messages(run.queue, result),
        ("LPUSH", run.queue, "1"),
        *(("EVAL", "return 1", "1", key) for key in (RUN_LOCK_KEY, client, ClientScope("").queue)),
        ("SET", mark, "1", "EX", "1", "GET"),
        ("SET", chunk, "1", "EX", "1"),
        ("GET", chunk),
        ("GETRANGE", result, "0", "1"),
        ("HSETNX", done, "1", "1"),
        ("HGET", done, "1"),
        ("HLEN", done),
        ("EXPIRE", done, "1"),
        ("SET", size, "1", "EX", "1"),
        ("GET", size),
        ("EXPIRE", mark, "1"),
        *((word, run.elsewhere_key, *rest) for word, *rest in (("HINCRBY", "1", "1"), ("HGETALL",), ("HDEL", "1"))),
        ("EXISTS", chunk),
        ("EXISTS", f"{ORCHESTRATOR_QUEUE}.celery.pidbox"),  # by which Celery's tools ask an own worker
        ("UNLINK", chunk),
        ("MEMORY", "USAGE", chunk),
        ("RPUSH", turn_key(chunk), "1"),
        ("SCAN", "0", "MATCH", f"{client}*", "COUNT", "1"),
    )
    return Needs(16, commands, (run.result_keys,), (PRESENCE_CHANNEL,))


def of_client(client_id: str, queue: str) -> Needs:
    """Return what a client's worker needs.

    Args:
        client_id: The client, or one of those that the worker serves.
        queue: By which its orders come.
    """
    scope = ClientScope(client_id)
    update, result = scope.update("run", 1), result_key(scope.order_id("run", 1, "train"))
    chunk, model, turn = f"{update}:0", f"{RunScope('run').model(0)}:0", turn_key(update)
    commands = (
        *_of_messages(queue, result),
        ("UNLINK", queue),
        ("SET", scope.key, "1", "PX", "1", "GET"),
        ("GETRANGE", scope.key, "0", "1"),
        ("PEXPIRE", scope.key, "1"),
        ("DEL", scope.key),
        ("SET", chunk, "1", "EX", "1"),
        ("EXISTS", chunk),
        ("GET", model),
        ("GETRANGE", model, "0", "1"),
        ("EXISTS", result),
        ("GET", RUN_LOCK_KEY),
        ("MGET", scope.away_key, scope.passed_over_key),
        ("SET", scope.away_key, "1", "EX", "1"),
        ("DEL", scope.away_key),
        ("SET", scope.wants_part_key, "1", "EX", "1"),
        ("GETRANGE", scope.part_key, "0", "1"),
        ("BLMOVE", turn, turn, "LEFT", "RIGHT", "1"),
        ("PUBLISH", PRESENCE_CHANNEL, "1"),
    )
    return Needs(NUM_CLIENT_CONNECTIONS, commands)


def _of_messages(queue: str, result: str) -> tuple[Words, ...]:
    """Return what Celery and kombu do to take messages from a queue and to store results."""
    return (
        ("PING",),
        ("TIME",),
        ("BRPOP", queue, "1"),
        ("LLEN", queue),
        ("GET", result),
        ("SETEX", result, "1", "1"),
        ("PUBLISH", result, "1"),
    )
