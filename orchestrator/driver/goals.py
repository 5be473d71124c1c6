"""What a run goes by as it goes on: whether it is over before its last round, and which checkpoints it keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.driver.context import RunContext
from orchestrator.store.best import best_rounds, check_goes_by, goes_by, metrics_by_round, prune, why_over
from orchestrator.store.facts import METRICS
from orchestrator.store.records import Evaluated, RoundRecord
from tasks.metrics import Metrics


class Goals:
    """Looks at the metrics of a run's models; see :mod:`orchestrator.store.best`.

    Args:
        context: The run's.
        by_round: The metrics that evaluations find, by round, and those that :meth:`note` adds.
    """

    def __init__(self, context: RunContext, by_round: dict[int, Metrics]) -> None:
        self._context = context
        self._by_round = by_round

    def note(self, records: Iterable[RoundRecord], initial: Evaluated) -> None:
        """Note what is known of rounds' models; where clients alone evaluate them, that is what they found."""
        self._by_round.update(metrics_by_round(records, initial))

    def note_clients(self, record: RoundRecord) -> None:
        """Note what clients found of a round's model, where they alone evaluate it.

        Raises:
            ConfigurationError: If it is the first that is known, and lacks what the run's options go by.
        """
        if record.client_metrics and not self._by_round:
            self.check(Evaluated(metrics=record.client_metrics))
        self.note([record], Evaluated())

    def check(self, evaluated: Evaluated) -> None:
        """Refuse options that go by a metric which there isn't, as far as an evaluation tells.

        Raises:
            ConfigurationError: If there is one.
        """
        check_goes_by(self._context.config, evaluated, METRICS.of(self._context.folder))

    def why_over(self) -> str:
        """Return why the run is over before its last round; empty if it isn't."""
        if not self._context.config.may_end_early:
            return ""
        return why_over(self._context.config, self._by_round, METRICS.of(self._context.folder))

    def prune(self, last_round: int, others: Collection[int] = ()) -> None:
        """Remove the checkpoints that the run isn't to keep, but for those of the rounds ``others``."""
        config, folder = self._context.config, self._context.folder
        if config.keeps_some:
            declared = METRICS.of(folder)
            best = best_rounds(self._by_round, goes_by(config, self._by_round, declared), declared)
            last = range(last_round - config.keep + 1, last_round)
            kept = {0, *best[: config.keep_best or 1], *last, *others}
            prune(folder, kept, before=last_round)
            for number in self._by_round.keys() - kept:  # none of them will be among the best
                if number < last_round:
                    del self._by_round[number]
