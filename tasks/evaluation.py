"""What an evaluation says: how good a model is, and what is shown and recorded of it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from tasks.messages import Metrics, finite

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a model is.

    Attributes:
        loss: Mean loss an example.
        accuracy: Share of answers that are right, 0 to 1; None where answers aren't right or wrong, as in regression.
        num_examples: Number of examples.
    """

    loss: float
    accuracy: float | None
    num_examples: int

    @property
    def share_right(self) -> float:
        """The accuracy as a number from 0 to 1. NaN, which nobody is shown or scored by, if it is none."""
        return float(self.accuracy) if self.accuracy is not None and 0 <= self.accuracy <= 1 else math.nan

    def problem(self) -> str:
        """Say what keeps the model from being judged by this; empty if nothing does."""
        if not self.num_examples:
            return "there are no held-out examples"
        return "" if math.isfinite(self.loss) else f"the loss is {float(self.loss)}"

    def metrics(self) -> Metrics:
        """Return ``loss`` and ``accuracy`` as they are shown and recorded, those that there are.

        Of no examples there are none, and of a model that diverged no loss. An accuracy outside 0 to 1 is a mistake
        (per cent, say), which the log tells.
        """
        if self.accuracy is not None and not (0 <= self.accuracy <= 1 or math.isnan(self.accuracy)):
            logger.warning("accuracy %g isn't a share from 0 to 1: left out", self.accuracy)
        if not self.num_examples:
            return {}
        return finite({"loss": self.loss, "accuracy": self.share_right})
