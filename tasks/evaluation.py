"""What an evaluation says: how good a model is, and what is shown and recorded of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.metrics import Declared, Metrics, finite, first_declared, metric_of


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a model is.

    Attributes:
        loss: Mean loss an example; None where there is none.
        num_examples: Number of examples.
        metrics: Whatever else is worth recording, numbers by name. ``accuracy`` is the share of answers that are right,
            0 to 1, if answers are right or wrong. A metric that these examples don't have is left out, or NaN.
    """

    loss: float | None
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.metrics, Mapping):
            raise TypeError(
                f"Evaluation(loss, num_examples, metrics) has metrics {self.metrics!r}: a dict of numbers by name is "
                'needed, like Evaluation(0.5, 10, {"accuracy": 0.9})'
            )

    @property
    def values(self) -> Mapping[str, float]:
        """The loss, if there is one, and the metrics; what isn't finite is among them."""
        return dict(self.metrics) if self.loss is None else {"loss": self.loss, **self.metrics}

    def problem(self) -> str:
        """Say what keeps the model from being judged by this; empty if nothing does."""
        if not self.num_examples:
            return "there are no held-out examples"
        if not self.values:
            return "evaluate() returned neither a loss nor a metric"
        return "" if self.loss is None or math.isfinite(self.loss) else f"the loss is {float(self.loss)}"

    def shown(self) -> Metrics:
        """Return what is shown and recorded: loss and metrics that are finite; of no examples none."""
        return finite(self.values) if self.num_examples else {}

    def unknown(self) -> str:
        """Say which of the metrics aren't finite, to be told beside those that are; empty if all are."""
        odd = [f"{name} is {float(value)}" for name, value in self.metrics.items() if not math.isfinite(value)]
        return ", ".join(odd) if self.num_examples else ""

    def judged_by(self, declared: Declared) -> str:
        """Return the metric that scorers judge a model by.

        It is the first that is declared to be better in some direction, of those that there are if there are some.
        Without one it is the accuracy, or, in an evaluation without accuracy, the loss.
        """
        there = {name: metric for name, metric in declared.items() if name in self.values}
        first = first_declared(there) or first_declared(declared)
        return first or ("accuracy" if "accuracy" in self.metrics else "loss")

    def score(self, name: str, declared: Declared) -> float:
        """Return a metric as a number that is greater for a better model; NaN if it is unknown.

        Where lower is better it is 1 / (1 + value), from 0 to 1, so that thresholds by a share of a score suit it, too;
        a value below 0 has none.
        """
        value = self.values.get(name, math.nan) if self.num_examples else math.nan
        if metric_of(name, declared).better == "lower":
            return 1 / (1 + value) if value >= 0 else math.nan
        return value
