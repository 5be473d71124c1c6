"""The order to evaluate a model."""

from __future__ import annotations

from tasks.messages import Status, StudyOrder


class EvaluateOrder(StudyOrder):
    """Evaluate the given parameters on the client's own held-out examples."""

    name = "evaluate"
    allowed = frozenset({Status.EVALUATED, Status.FAILED})
