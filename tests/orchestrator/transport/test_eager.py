"""The transport's twin in memory: what goes over it is carried out at once, and chords are counted part by part."""

from __future__ import annotations

import json

import pytest
from celery import Celery

from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Chord
from tasks.broker.app import make_app

CHORD = Chord("group", "body", {"total": 3})


@pytest.fixture
def done() -> list[object]:
    """What was carried out, in order."""
    return []


@pytest.fixture
def app(done: list[object]) -> Celery:
    made = make_app("twin", "memory://", include=(), task_always_eager=True)

    @made.task(name="part", shared=False)
    def part(value: list[int]) -> list[int]:
        done.append(value)
        return [*value, 0]

    @made.task(name="body", shared=False)
    def body(total: int) -> str:
        done.append(total)
        return "closed"

    return made


def results(transport: EagerTransport, *task_ids: str) -> dict[str, object]:
    return {task_id: json.loads(raw)["result"] for task_id, raw in transport.collect(task_ids, 0.0).items()}


def test_a_chords_body_is_carried_out_after_its_last_part(app: Celery, done: list[object]) -> None:
    # Given a chord of which nobody knows yet how many parts it will have
    transport = EagerTransport(app)
    # When a part is sent, then it alone is carried out, and what it returned can be collected
    transport.send_part(CHORD, 0, "part", {"value": (1, 2)}, keep_result=True)
    assert done == [[1, 2]]
    assert results(transport, CHORD.part_id(0), CHORD.body_id) == {CHORD.part_id(0): [1, 2, 0]}
    # And when it is to close with two, and the other is sent, then the body follows, once, with arguments of its own
    transport.close_chord(CHORD, 2)
    transport.send_part(CHORD, 1, "part", {"value": []})
    assert done == [[1, 2], [], 3]
    assert results(transport, CHORD.body_id) == {CHORD.body_id: "closed"}


def test_a_chord_that_is_forgotten_is_closed_by_nobody(app: Celery, done: list[object]) -> None:
    # Given a chord of one part that was forgotten
    transport = EagerTransport(app)
    transport.close_chord(CHORD, 1)
    transport.forget([], [CHORD])
    # When its part is sent after all, then there is no body
    transport.send_part(CHORD, 0, "part", {"value": [1]})
    assert done == [[1]]


def test_a_result_stays_until_it_is_forgotten(app: Celery) -> None:
    # Given a task that was carried out, when it is collected twice, then it is there, and gone when it is forgotten
    transport = EagerTransport(app)
    transport.call("part", "one", {"value": [1]})
    assert results(transport, "one", "two") == results(transport, "one", "two") == {"one": [1, 0]}
    transport.forget(["one", "two"])
    assert results(transport, "one", "two") == {}
