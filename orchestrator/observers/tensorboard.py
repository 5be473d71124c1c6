"""A run's numbers for TensorBoard, in the run's folder: ``tensorboard --logdir runs`` lays all runs over each other."""

from __future__ import annotations

from orchestrator.observers import ObserverContext, missing
from orchestrator.observers.events import Event
from orchestrator.observers.tracked import Numbers, moment

try:
    from tensorboard.summary import Writer
except ImportError:
    raise missing("tensorboard", "tensorboard") from None

FOLDER = "tensorboard"
"""Where they are, in the run's folder. Each start of the orchestrator has a file of its own there."""


class TensorBoard:
    """Writes each number as a scalar, by round, as soon as it is told: TensorBoard can look while the run goes on."""

    def __init__(self, context: ObserverContext) -> None:
        self._numbers = Numbers()
        self._writer = Writer(str(context.folder / FOLDER))

    def observe(self, event: Event) -> None:
        """Write what an event says in numbers."""
        round_number, numbers = self._numbers.of(event)
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, round_number, wall_time=moment(event))
        if numbers:
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
