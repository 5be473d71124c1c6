"""Evaluations of the rounds' models on the orchestrator's held-out data, which no round waits for.

An own worker evaluates one model after the other while rounds go on; what it finds follows as a line of its own. The
run waits for what is left of them at its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from orchestrator.driver.collector import MAX_KILLED, ended_with_its_process
from orchestrator.driver.context import RunContext, own_result
from orchestrator.observers.events import EvaluationSlow, ModelEvaluated
from orchestrator.store.records import Evaluated
from tasks import names
from tasks.errors import FederationError
from tasks.metrics import Metrics
from tasks.scope import RunScope

MANY = 3
"""Models that wait to be evaluated, from which on it is told that evaluating takes longer than the rounds."""


class Evaluations:
    """Has models evaluated, keeps what comes of it, and tells it.

    Args:
        context: The run's.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._waiting: deque[int] = deque()
        """Rounds whose models are to be evaluated; an own worker is at the first."""
        self._num_killed = 0
        self._told_many = False
        self.by_round: dict[int, Metrics] = {}
        """What was found, and what a former start of the orchestrator has found."""

    @property
    def waiting(self) -> Collection[int]:
        """Rounds whose models are still to be evaluated."""
        return tuple(self._waiting)

    def add(self, round_numbers: Iterable[int]) -> None:
        """Have the models that these rounds ended with evaluated, after those that were asked for before."""
        for round_number in round_numbers:
            self._waiting.append(round_number)
            if len(self._waiting) == 1:
                self._begin()
        if len(self._waiting) >= MANY and not self._told_many:
            self._told_many = True
            self._context.report(EvaluationSlow(num_waiting=len(self._waiting)))

    def do_again(self) -> None:
        """Ask again for what an own worker may have lost, or the broker."""
        if self._context.collector.aside:
            self._begin()

    def finish(self) -> None:
        """Wait for all that were asked for."""
        while self._waiting:
            self._context.collector.aside.clear()
            self._take(self._context.collector.result(self._task_id(), self._send))

    def _begin(self) -> None:
        """Have the first that waits evaluated while others go on."""
        self._context.collector.aside[self._send()] = self._take

    def _task_id(self) -> str:
        return RunScope(self._context.config.run_id).evaluate_id(self._waiting[0])

    def _send(self) -> str:
        transport, task_id = self._context.services.transport, self._task_id()
        transport.forget([task_id])
        kwargs = {"run_dir": str(self._context.folder.path), "round_number": self._waiting[0]}
        transport.call(names.EVALUATE_MODEL_TASK, task_id, kwargs)
        return task_id

    def _take(self, raw: bytes | str | None) -> None:
        """Keep and tell what came of the first; that a model can't be evaluated is no reason for a run to fail."""
        context, number = self._context, self._waiting[0]
        if raw is not None and ended_with_its_process(raw) and self._num_killed < MAX_KILLED:
            self._num_killed += 1
            self._begin()
            return
        try:
            evaluated = own_result(raw, Evaluated, "it could not be evaluated", context.report)
        except FederationError as error:
            evaluated = Evaluated(problem=str(error))
        context.services.transport.forget([self._task_id()])
        context.folder.save_evaluation(number, evaluated, durable=context.config.keeps_some)
        if evaluated.metrics:
            self.by_round[number] = evaluated.metrics
        context.report(ModelEvaluated(round_number=number, metrics=evaluated.metrics, problem=evaluated.problem))
        self._num_killed = 0
        self._waiting.popleft()
        if self._waiting:
            self._begin()
