"""Feeding an exchange's chord: own workers take answers in as its parts, each part the answers that came together.

How many parts there are is known when the last slot is filled. The chord is told then, before its last part goes out;
until then none of its parts can start its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.driver.context import RunContext
from orchestrator.transport.pieces import in_pieces
from orchestrator.transport.transport import Chord
from tasks import names
from tasks.messages import Response, encode

MOST_ANSWERS = 32
"""Answers that an own worker takes in by one task: the others wait for none of theirs to be looked at."""
MOST_BYTES = 4_000_000
"""Bytes of updates that it takes in by one task, but for a single update that is longer."""


class Feeding:
    """The chords of an exchange: one, and another each time what was done as its parts may be lost.

    Args:
        context: The run's.
        round_number: The round.
        kind: The kind of orders that are answered.
        body_task: The task that is given what was taken in: the body of the chord.
        keeps_results: Whether it is to be seen when a part is done.
    """

    def __init__(
        self, context: RunContext, round_number: int, kind: str, body_task: str, *, keeps_results: bool
    ) -> None:
        self._context = context
        self._number = round_number
        self._kind = kind
        self._body_task = body_task
        self._keeps_results = keeps_results
        self._chords: list[Chord] = []
        self._num_parts: list[int] = []
        """Parts that were sent of each of the chords."""

    @property
    def has_begun(self) -> bool:
        """Whether there is a chord."""
        return bool(self._chords)

    @property
    def body_id(self) -> str:
        """Id of the task that is the body of the last chord."""
        return self._chords[-1].body_id

    def begin(self) -> None:
        """Begin a chord; of those before it nothing counts any more."""
        context = self._context
        body_kwargs = {"run_dir": str(context.folder.path), "round_number": self._number}
        chord = Chord(context.scope.new_chord_id(self._number), self._body_task, body_kwargs)
        self._chords.append(chord)
        self._num_parts.append(0)

    def take_in(self, answers: Sequence[Response], *, is_last: bool) -> dict[str, list[str]]:
        """Have own workers take answers in, and return by which tasks: task's id -> ids of the orders.

        Args:
            answers: The answers.
            is_last: Whether no more are to come: then the body follows when all are taken in.
        """
        transport, chord, first = self._context.services.transport, self._chords[-1], self._num_parts[-1]
        parts = dict(enumerate(together(answers), first))
        self._num_parts[-1] += len(parts)
        if is_last:
            transport.close_chord(chord, self._num_parts[-1])
        for index, part in parts.items():
            kwargs = {
                "run_dir": str(self._context.folder.path),
                "round_number": self._number,
                "responses": [encode(response) for response in part],
                "exchange": self._kind,
            }
            transport.send_part(chord, index, names.INGEST_TASK, kwargs, keep_result=self._keeps_results)
        return {chord.part_id(index): [response.order_id for response in part] for index, part in parts.items()}

    def forget(self, task_ids: Sequence[str]) -> None:
        """Remove what is left of the chords, and of these tasks."""
        ids = [*task_ids, *(chord.body_id for chord in self._chords)]
        if self._keeps_results:
            counted = zip(self._chords, self._num_parts, strict=True)
            ids += [chord.part_id(index) for chord, num_parts in counted for index in range(num_parts)]
        self._context.services.transport.forget(ids, self._chords)


def together(answers: Sequence[Response]) -> Iterator[Sequence[Response]]:
    """Yield answers as they are taken in together, in order."""
    sizes = [0 if answer.update is None else answer.update.size_bytes for answer in answers]
    return in_pieces(answers, sizes, MOST_ANSWERS, MOST_BYTES)
