"""What a workload's methods are told beside parameters and data: who trains, when, how, and for how long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tasks.batched_rows import BatchedRows
from tasks.messages import TrainOptions
from tasks.run_config import RunSetting

State = MutableMapping[str, Any]
"""What a client keeps: NumPy arrays, and whatever else JSON can hold, by name."""


class TimeBudget:
    """How long training may go on. Ask it before each step: ``if context.budget.is_over(): break``."""

    def __init__(self, timeout_s: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + timeout_s
        self._expired = False
        self._cut_short = False

    def expire(self) -> None:
        """End the time now. May be called from a signal handler."""
        self._expired = True

    def is_over(self) -> bool:
        """Say whether the time is up, and remember having said so."""
        if self._expired or self._clock() >= self._end:
            self._cut_short = True
        return self._cut_short

    @property
    def left_s(self) -> float:
        """Seconds that are left, for what can't ask before each step; infinite where nothing ends the time."""
        return 0.0 if self._expired else max(0.0, self._end - self._clock())

    @property
    def cut_short(self) -> bool:
        """Whether training was told to stop."""
        return self._cut_short


@dataclass(frozen=True)
class Context:
    """What a workload's methods are told beside parameters and data; ``Context()`` will do to try one by hand.

    Attributes:
        client_id: The client; empty at the orchestrator.
        round_number: The round, from 1; 0 for the initial model.
        num_rounds: Rounds that the run is to have.
        cohort_size: Clients that were asked when the round opened; 0 where none are.
        options: How clients train: epochs, batch size, learning rate.
        run_config: The study's own settings (``--run-config``), as they are in this round.
        seed: Of this client in this round, 0 to 2**32 - 1, as torch, scikit-learn and JAX take it.
        budget: How long training may go on.
        device: The device to train and evaluate on, as torch names it.
        load_holdout: Returns the orchestrator's held-out data, which the initial model may go by; None at a client.
        results: What became of the clients' results in the last round that was closed, as far as ``to_clients`` was
            declared of them; empty where nobody trains.
        load_state: Returns what ``state`` is to be; called when that is first asked for.
    """

    client_id: str = ""
    round_number: int = 0
    num_rounds: int = 1
    cohort_size: int = 0
    options: TrainOptions = field(default_factory=TrainOptions)
    run_config: Mapping[str, RunSetting] = field(default_factory=dict)
    seed: int = 0
    budget: TimeBudget = field(default_factory=TimeBudget)
    device: str = "cpu"
    results: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    load_holdout: Callable[[], Any] = lambda: None
    load_state: Callable[[], State] = dict

    @cached_property
    def rng(self) -> np.random.Generator:
        """A generator of this context's own, seeded with ``seed``."""
        return np.random.default_rng(self.seed)

    def batches(self, num_examples: int) -> BatchedRows:
        """Return the rows of each training step, as ``options`` say, until the time is up.

        Args:
            num_examples: How many examples there are to train on.
        """
        return BatchedRows(num_examples, self.options, self.rng, self.budget.is_over)

    @cached_property
    def state(self) -> State:
        """What this client keeps from round to round: named arrays, and values that JSON can hold.

        What training leaves in it lasts over restarts and never leaves the client. It counts only if the update that it
        belongs to is accepted: else the next round finds what was there before. Evaluation may read it; what it changes
        is dropped. At the orchestrator it is empty.
        """
        return self.load_state()

    @property
    def has_used_state(self) -> bool:
        """Whether the state was asked for."""
        return "state" in vars(self)
