"""The transport's twin in memory: there is nothing to wait for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from celery import Celery

from orchestrator.transport.results import MAX_RESULT_BYTES
from orchestrator.transport.sending import Call
from orchestrator.transport.transport import Chord, Transport
from tasks.broker.turns import GO
from tasks.messages import Order


class EagerTransport(Transport):
    """Carries everything out at once in this process, through Celery's eager mode.

    Eager tasks know nothing of chords, so this counts a chord's parts itself.

    Attributes:
        turns: What clients were told of their turns, by the name of the update's blob.
    """

    def __init__(self, app: Celery) -> None:
        if not app.conf.task_always_eager:
            raise ValueError("an eager transport needs an app with task_always_eager")
        super().__init__(app, "in-memory")
        self.turns: dict[str, bytes] = {}
        self._results: dict[str, str] = {}
        self._done: Counter[str] = Counter()
        """Parts of each chord that are done."""
        self._sizes: dict[str, int] = {}
        """How many parts each chord has, as far as that is known."""

    def forget_all(self) -> None:
        """Forget everything, as a broker does that is emptied."""
        for kept in (self.turns, self._results, self._done, self._sizes):
            kept.clear()

    def publish(self, calls: Sequence[Call]) -> None:
        """Carry the tasks out; after a chord's last part, its body as well."""
        for call in calls:
            self._execute(call)
            chord = str(call.options.get("group_id"))
            self._done[chord] += 1
            if self._done[chord] == self._sizes.get(chord):
                body: Any = call.options["chord"]
                self._execute(Call(body["task"], body["options"]["task_id"], "", kwargs=body["kwargs"]))

    def collect(
        self, task_ids: Collection[str], timeout_s: float, max_bytes: int = MAX_RESULT_BYTES
    ) -> dict[str, bytes | str]:
        """Return the results; they are all there already."""
        return {task_id: self._results[task_id] for task_id in task_ids if task_id in self._results}

    def expect_more(self, task_id: str) -> None:
        """Forget what was read of a task."""
        self._results.pop(task_id, None)

    def forget(self, task_ids: Collection[str], chords: Collection[Chord] = ()) -> None:
        """Remove what is kept of these tasks and chords."""
        for task_id in task_ids:
            self._results.pop(task_id, None)
        for chord in chords:
            self._done.pop(chord.group_id, None)
            self._sizes.pop(chord.group_id, None)

    def close_chord(self, chord: Chord, num_parts: int) -> None:
        """Have the chord's body follow when this many parts are done."""
        self._sizes[chord.group_id] = num_parts

    def take_back(self, queue: str, task_id: str) -> None:
        """Do nothing: every order has been carried out."""

    def give_turn(self, order: Order, word: bytes = GO) -> None:
        """Keep what a client was told."""
        self.turns[order.update_blob] = word

    def take_turns_away(self, orders: Sequence[Order]) -> None:
        """Remove what the clients of these orders were told."""
        for order in orders:
            self.turns.pop(order.update_blob, None)

    def _execute(self, call: Call) -> None:
        # Through JSON and back, as over a broker.
        args, kwargs = json.loads(json.dumps([call.args, dict(call.kwargs)]))
        signature = self._app.signature(call.task, args=args, kwargs=kwargs)
        result = signature.apply_async(task_id=call.task_id).result
        self._results[call.task_id] = json.dumps({"status": "SUCCESS", "result": result})
