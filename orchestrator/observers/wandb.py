"""A run's settings and numbers for Weights & Biases: in the run's folder, or at its server if one says so."""

from __future__ import annotations

import os

from orchestrator.observers import ObserverContext, missing
from orchestrator.observers.events import Event, RunStarted
from orchestrator.observers.tracked import Numbers, changed_settings

try:
    import wandb
except ImportError:
    raise missing("wandb", "wandb") from None

PROJECT = "celeriac"
"""The project of runs, unless the parameter names another."""
MODE_VARIABLE = "WANDB_MODE"
"""Theirs, which holds if it is set: with ``online`` all is sent at once. Else nothing is sent."""
_STEPS_A_ROUND = 5
"""At most: four events of a round have numbers, and so has the initial model."""
_PATIENCE_S = 15
"""Seconds that their server has at the beginning, and at the end; else this process would end when all is sent."""
_SETTINGS = wandb.Settings(
    console="off",
    silent=True,
    disable_git=True,
    disable_code=True,
    x_disable_stats=True,
    x_disable_meta=True,
    init_timeout=_PATIENCE_S,
    finish_timeout=_PATIENCE_S,
)
"""It prints nothing, and looks neither at this program's code and command line, where the broker's password may be, nor
at the machine and its load."""


class WeightsAndBiases:
    """Logs a run; its parameter is the project's name.

    Their steps only go up, while a model is evaluated when later rounds are closed already. So a round is a number
    among others, ``round``, which the charts have as their axis, and the steps just count.
    """

    def __init__(self, context: ObserverContext) -> None:
        self._numbers = Numbers()
        run_id = context.config.run_id
        self._run = wandb.init(
            project=context.parameter or PROJECT,
            id=run_id,
            name=run_id,
            resume="allow",
            mode=None if os.environ.get(MODE_VARIABLE) else "offline",
            dir=context.folder,
            config=changed_settings(context.config),
            settings=_SETTINGS,
        )
        self._run.define_metric("*", step_metric="round")
        self._step = 0

    def observe(self, event: Event) -> None:
        """Log what an event says in numbers."""
        if isinstance(event, RunStarted):
            self._step = _STEPS_A_ROUND * event.rounds_closed  # above those of a former start
        round_number, numbers = self._numbers.of(event)
        if numbers:
            self._step += 1
            self._run.log({"round": round_number, **numbers}, step=self._step)

    def close(self) -> None:
        """End it; a run that wasn't completed is gone on with when it is taken up again."""
        self._run.finish()
