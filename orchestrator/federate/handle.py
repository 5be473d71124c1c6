"""A run that was begun from Python: what one asks of it while it goes on, and when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Condition, Event, Thread, current_thread
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.observers.plot import figure_of_run
from orchestrator.store.best import BEST, best_of, model_of
from orchestrator.store.records import ACCEPTED, RoundRecord, Summary
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, results
from tasks.arrays import Array
from tasks.described import counted
from tasks.errors import ConfigurationError
from tasks.metrics import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Hook = Callable[[RoundRecord], object]
"""Is told of each round as it closes; one that returns False ends the run."""
LAST = "last"
_TICK_S = 1.0


class Drive(Protocol):
    """Carries a run out, or raises what ended it; all that it started ends with it."""

    def __call__(self, folder: RunFolder, look: Callable[[], None], stopping: Event) -> None:
        """Carry it out.

        Args:
            folder: The run's folder.
            look: To be called whenever a round may have closed; what it raises ends the run.
            stopping: When it is set the run is to end.
        """


class FederatedRun:
    """A run: its rounds as they close, its model, and how to end it.

    ``for record in run`` yields the record of each round once it is closed and, where it is to be, evaluated. It ends
    with the run, and raises what the run ended with if that is an error. Rounds that a run which is stopped leaves
    without their evaluation are in its history alone.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: RunFolder, drive: Drive, hooks: Sequence[Hook]) -> None:
        self.folder: Path = folder.path
        self._store = folder
        self._drive = drive
        self._hooks = hooks
        self._rounds = folder.config().rounds
        self._records = self._evaluated()
        self._changed = Condition()
        self._stopping = Event()
        self._has_ended = False
        self._error: BaseException | None = None
        self._thread = current_thread()
        self._seen: object = None

    def begin(self) -> None:
        """Carry the run out in a thread of its own."""
        self._thread = Thread(target=self._carry_out, name=f"run {self.folder.name}", daemon=True)
        self._thread.start()

    def carry_out(self) -> None:
        """Carry the run out here.

        Raises:
            FederationError: If it failed; and whatever a hook raises, or Ctrl-C.
        """
        self._carry_out()
        self._raise_error()

    def wait(self, timeout_s: float | None = None) -> FederatedRun:
        """Wait for the run's end and return the run.

        Args:
            timeout_s: How long; None: as long as it takes.

        Raises:
            TimeoutError: If it goes on after that.
            FederationError: If the run failed; and whatever a hook raised.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_ended, timeout_s):
                closed = counted(len(self._records), "round")
                raise TimeoutError(f"the run goes on after {timeout_s:g} s; it has {closed}")
        self._raise_error()
        return self

    def stop(self) -> None:
        """End the run in good order, and wait for that; called by a hook, it ends after the hook returns."""
        self._stopping.set()
        if current_thread() is not self._thread:
            with self._changed:
                self._changed.wait_for(lambda: self._has_ended)

    def __iter__(self) -> Iterator[RoundRecord]:
        """Yield the rounds' records, those of the rounds to come as they close."""
        number = 0
        while True:
            with self._changed:
                while len(self._records) <= number and not self._has_ended:
                    self._changed.wait(_TICK_S)
                if len(self._records) <= number:
                    break
                record = self._records[number]
            yield record
            number += 1
        self._raise_error()

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``interrupted`` or ``failed``."""
        if not self._has_ended:
            return "running"
        return self.summary.status if self.summary else "failed" if self._error else "interrupted"

    @property
    def summary(self) -> Summary | None:
        """The run in short; None as long as it goes on."""
        return self._store.summary() if self._has_ended else None

    @property
    def history(self) -> Any:
        """A row a closed round: a pandas frame by round, or where there is no pandas a list of dicts.

        Metrics on held-out data go by their names, those of clients have ``client_`` before them.
        """
        rows = [_row(record) for record in self._store.history()]
        try:
            import pandas as pd  # noqa: PLC0415  # not everybody has it
        except ImportError:
            return rows
        return pd.DataFrame(rows).set_index("round") if rows else pd.DataFrame()

    @property
    def parameters(self) -> dict[str, Array]:
        """The newest model's arrays by name, in memory of their own."""
        return load_model(self)

    @property
    def results(self) -> dict[str, Array]:
        """What became of the clients' results in the last round that closed, by name; empty if they have none."""
        path = self._store.state(len(self._store.history()))
        return arrays.copied(results.split(arrays.map_file(path))[1]) if path.exists() else {}

    @property
    def best(self) -> int | None:
        """The round of the best model, see the option ``best_by``; None as long as none was evaluated."""
        return best_of(self._store)

    def plot(self) -> Figure:
        """Return a figure of each metric by round, as far as the run has come; a notebook shows it."""
        return figure_of_run(self._store, self._store.history())

    def __repr__(self) -> str:
        """Return the run in a line: its status, how far it is, how good its model is, where it is."""
        history = self._store.history()
        told = (in_words(record.metrics or record.client_metrics) for record in reversed(history))
        last = next((f", {metrics}" for metrics in told if metrics), "")
        return f"<run {self.status}: {len(history)} of {self._rounds} rounds{last}; {self.folder}>"

    def _carry_out(self) -> None:
        try:
            self._drive(self._store, self._look, self._stopping)
            self._look()
        except BaseException as error:  # raised in the thread that asks
            self._error = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _evaluated(self) -> list[RoundRecord]:
        """Return the records of the closed rounds up to the first that is still to be evaluated."""
        history = self._store.history()
        return history[: min(self._store.not_evaluated(history), default=len(history) + 1) - 1]

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        """Take in the rounds that have closed, and tell the hooks."""
        seen = self._store.progress()
        if seen == self._seen:
            return
        self._seen = seen
        for record in self._evaluated()[len(self._records) :]:
            with self._changed:
                self._records.append(record)
                self._changed.notify_all()
            for hook in self._hooks:
                if hook(record) is False:
                    self._stopping.set()


def load_model(run: FederatedRun | Path | str, round: int | str = LAST) -> dict[str, Array]:  # noqa: A002
    """Return a run's model after a round: arrays by name, in memory of their own.

    Args:
        run: The run, or its folder.
        round: The round's number, 0 for the initial model; ``last``; or ``best``, see the option ``best_by``.

    Raises:
        ConfigurationError: If there is no such run or round, or the model isn't kept or is damaged.
    """
    if not (round in (LAST, BEST) or (isinstance(round, int) and round >= 0)):
        raise ConfigurationError(f"round = {round!r}: a number from 0, {LAST!r} or {BEST!r} is allowed")
    folder = RunFolder.open(Path(run.folder if isinstance(run, FederatedRun) else run))
    return arrays.copied(model_of(folder, None if round == LAST else round)[1])


def _row(record: RoundRecord) -> Mapping[str, object]:
    return {
        "round": record.round_number,
        "status": record.status,
        "num_clients": len(record.cohort),
        "num_accepted": sum(slot.status in ACCEPTED for slot in record.responses.values()),
        "duration_s": record.duration_s,
        "bytes_down": record.bytes_down,
        "bytes_up": record.bytes_up,
        **record.train_metrics,
        **{f"client_{name}": value for name, value in record.client_metrics.items()},
        **record.metrics,
    }
