"""The rows of each training step, for workloads that write their own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from tasks.messages import TrainOptions

Rows = npt.NDArray[np.int64]
"""Which examples a step is to take, counted from 0."""


class BatchedRows:
    """Yields the rows of each step: whole passes, each shuffled anew, until they are done or the time is up.

    Ends as the options say, after so many epochs or steps. The last batch of a pass may be smaller.

    Attributes:
        num_steps: Steps whose rows were given out.
        num_epochs: Passes that these are; a part of one counts as a part.
    """

    def __init__(
        self, num_examples: int, options: TrainOptions, rng: np.random.Generator, is_over: Callable[[], bool]
    ) -> None:
        self._num_examples, self._options, self._rng, self._is_over = num_examples, options, rng, is_over
        self.num_steps = 0
        self.num_epochs = 0.0

    def __iter__(self) -> Iterator[Rows]:
        """Yield each step's rows; asks before each whether the time is up."""
        num_seen = 0
        for rows in islice(self._batches(), self._options.max_steps):
            if self._is_over():
                return
            self.num_steps += 1
            num_seen += len(rows)
            self.num_epochs = num_seen / self._num_examples
            yield rows

    def _batches(self) -> Iterator[Rows]:
        options = self._options
        starts = range(0, self._num_examples, options.batch_size)
        num_passes = options.epochs if options.max_steps is None else options.max_steps  # a pass is a step at least
        for _ in range(num_passes if starts else 0):
            order = self._rng.permutation(self._num_examples)
            yield from (order[start : start + options.batch_size] for start in starts)
