"""Evaluations that rounds don't wait for: one after the other, begun again where they were lost, told once they end."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.collector import MAX_KILLED, Collector
from orchestrator.driver.context import RunContext
from orchestrator.driver.evaluations import MANY, Evaluations
from orchestrator.observers.events import EvaluationSlow, Event, ModelEvaluated
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.sending import Call
from orchestrator.transport.transport import Chord, Lost
from tasks.broker.app import make_app
from tests.orchestrator.driver.contexts import Clients

KILLED = {"status": "FAILURE", "result": {"exc_type": "WorkerLostError"}}


def found(loss: float) -> dict[str, Any]:
    """What is stored of an evaluation that ended well."""
    return {"status": "SUCCESS", "result": {"metrics": {"loss": loss}}}


class Evaluating(EagerTransport):
    """Has each evaluation end with the next of some results, when there is one."""

    def __init__(self) -> None:
        super().__init__(make_app("evaluating", "memory://", include=(), task_always_eager=True))
        self.asked: list[int] = []
        """Rounds whose models were asked for, in that order."""
        self.results: list[dict[str, Any]] = []
        self._at: str | None = None

    def publish(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self.asked.append(int(str(call.kwargs["round_number"])))
            self._at = call.task_id

    def collect(self, task_ids: Collection[str], timeout_s: float, max_bytes: int = 0) -> dict[str, bytes | str]:
        if self._at in task_ids and self.results:
            task_id, self._at = str(self._at), None
            return {task_id: json.dumps(self.results.pop(0))}
        return {}

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        if self._at in task_ids:
            self._at = None


class Scene:
    """A run of five rounds, and what it tells."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.transport = Evaluating()
        context = Clients(()).context(folder, rounds=5)
        services = replace(context.services, transport=self.transport)
        collector = Collector(services, context.manager, lambda: Lost.NOTHING)
        self.context: RunContext = replace(context, services=services, collector=collector, report=self.events.append)
        self.evaluations = Evaluations(self.context)

    def look(self) -> None:
        """Take what has ended, as a round does that waits for something else."""
        self.context.collector.results([], 0.0)

    def told(self) -> list[tuple[int, float | str]]:
        """Of each model that was told of: its round, and its loss or what was wrong."""
        events = [event for event in self.events if isinstance(event, ModelEvaluated)]
        return [(event.round_number, event.metrics.get("loss") or event.problem) for event in events]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_models_are_evaluated_one_after_the_other_while_rounds_go_on(scene: Scene) -> None:
    # Given two models that are to be evaluated, when the first has been, then the second is begun
    scene.evaluations.add([1, 2])
    assert scene.transport.asked == [1]
    scene.transport.results = [found(0.5)]
    scene.look()
    assert (scene.transport.asked, scene.told(), list(scene.evaluations.waiting)) == ([1, 2], [(1, 0.5)], [2])
    # When the run ends, then it waits for what is left
    scene.transport.results = [found(0.25)]
    scene.evaluations.finish()
    assert (scene.told(), list(scene.evaluations.waiting)) == ([(1, 0.5), (2, 0.25)], [])
    assert scene.evaluations.by_round == {1: {"loss": 0.5}, 2: {"loss": 0.25}}


def test_that_evaluating_takes_longer_than_rounds_is_told_once(scene: Scene) -> None:
    # Given models that come faster than they are evaluated, when there are too many, then that is told, once
    scene.evaluations.add(range(1, MANY))
    assert scene.events == []
    scene.evaluations.add([MANY])
    scene.evaluations.add([MANY + 1])
    assert scene.events == [EvaluationSlow(num_waiting=MANY)]


def test_an_evaluation_whose_worker_ended_or_whose_broker_was_emptied_is_asked_for_again(scene: Scene) -> None:
    # Given an evaluation that is under way, and nothing, when what own workers do may be lost
    scene.evaluations.do_again()
    assert scene.transport.asked == []
    scene.evaluations.add([4])
    scene.evaluations.do_again()
    # Then what was under way is asked for again, and counts once
    assert scene.transport.asked == [4, 4]
    scene.transport.results = [found(0.5)]
    scene.look()
    assert scene.told() == [(4, 0.5)]


def test_an_evaluation_whose_process_is_killed_again_and_again_is_given_up_and_the_next_is_not(scene: Scene) -> None:
    # Given a model whose evaluation takes more memory than there is
    scene.evaluations.add([1, 2])
    # When its process is killed as often as is borne, and once more
    for _ in range(MAX_KILLED + 1):
        scene.transport.results = [KILLED]
        scene.look()
    # Then that is told of it, and the next model is evaluated, which may be killed as often
    assert scene.transport.asked == [1] * (MAX_KILLED + 1) + [2]
    [(number, problem)] = scene.told()
    assert number == 1
    assert str(problem).startswith("it could not be evaluated")
    scene.transport.results = [KILLED]
    scene.look()
    scene.transport.results = [found(0.25)]
    scene.look()
    assert scene.told()[1:] == [(2, 0.25)]
