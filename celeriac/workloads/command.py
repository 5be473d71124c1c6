"""A workload that is any program: parameters are a file, settings the environment, the update and metrics files again.

``command,train=Rscript train.R,initial=Rscript initial.R``: docs/any-program.md is the programs' side of the contract.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from celeriac.workloads.program_files import Files, Results, read_arrays
from celeriac.workloads.programs import grace_s, run_program
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.files import is_file
from tasks.metrics import Metric
from tasks.user_code import UserCodeError
from tasks.workload import ClientData, DataSource, TrainResult, Workload

MOST_S = 600.0
"""Seconds that a program may take where no order says less: one that counts, or that works for the orchestrator."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where data is, and how many examples there are; 1 where nobody counts them."""

    source: DataSource
    num_examples: int = 1


class Command(Workload):
    """Programs train, evaluate and count; each is split into words as a shell does, and given to none.

    Args:
        train: Trains from FL_PARAMETERS and writes FL_UPDATE.
        initial: Writes the initial model to FL_UPDATE; or the path of a safetensors file.
        evaluate: Evaluates FL_PARAMETERS on what a client holds out; without it clients evaluate nothing.
        holdout: Does so at the orchestrator; without it that has no held-out data.
        count: Says how many examples a client has; without it each client counts as much as any other.
        better: A metric and where it gets better, like ``auc:higher``: the one that models are judged by.

    Raises:
        ConfigurationError: If ``train`` or ``initial`` is missing, or one isn't of its form.
    """

    splits_data: ClassVar[bool] = False

    def __init__(
        self,
        train: str = "",
        initial: str = "",
        evaluate: str = "",
        holdout: str = "",
        count: str = "",
        better: str = "",
    ) -> None:
        if not (train and initial):
            raise ConfigurationError(
                "workload command: train=PROGRAM and initial=PROGRAM (or a safetensors file) are needed, like "
                "command,train=Rscript train.R,initial=Rscript initial.R"
            )
        named = {"train": train, "initial": initial, "evaluate": evaluate, "holdout": holdout, "count": count}
        self._commands = {task: command for task, command in named.items() if command}
        self._words = {task: _words(task, command) for task, command in self._commands.items()}
        if better:
            self.known_metrics = _declared(better)  # type: ignore[misc]  # this one's own

    def initial_parameters(self, context: Context) -> Arrays:
        """Have ``initial`` make the model, or read it."""
        command = self._commands["initial"]
        if command.endswith(".safetensors"):
            if not is_file(Path(command)):
                raise ConfigurationError(f"workload command: initial={command}: there is no such file")
            return read_arrays(Path(command), f"initial={command}")
        return self._updated(self._run("initial", context))

    def client_data(self, source: DataSource) -> ClientData:
        """Return where the data is, for the programs to read, and how many examples ``count`` finds there."""
        for task in self._words.keys() - {"initial", "holdout"}:
            self._check_there(task)
        site = Site(source)
        if "count" in self._words:
            results = self._run("count", Context(), site)
            if "num_examples" not in results.numbers:
                raise UserCodeError(f"count: {self._commands['count']!r} wrote no num_examples to FL_METRICS")
            site = Site(source, results.count("num_examples", 0))
        return ClientData(site, site if "evaluate" in self._words else None, site.num_examples)

    def holdout_data(self, folder: Path | None) -> Site | None:
        """Return where the orchestrator's held-out data is, if a program is named that evaluates on it."""
        return Site(DataSource(folder)) if "holdout" in self._words else None

    def train(self, parameters: Arrays, data: Site, context: Context) -> TrainResult:
        """Have ``train`` train; where its time is over before it ends, what it has written by then counts."""
        if context.budget.is_over():
            return TrainResult(parameters, data.num_examples, num_steps=0, num_epochs=0.0)
        results = self._run("train", context, data, parameters)
        update = self._updated(results)
        num_examples = results.count("num_examples", data.num_examples)
        if num_examples > data.num_examples:
            raise UserCodeError(
                f"train: FL_METRICS has num_examples={num_examples}, and the client was announced with "
                f"{data.num_examples}: count=PROGRAM counts them before"
            )
        if results.was_stopped:
            context.budget.expire()
            context.budget.is_over()
        return TrainResult(
            parameters=update,
            num_examples=num_examples,
            num_steps=results.count("num_steps", 1),
            num_epochs=results.numbers.get("num_epochs", 1.0),
            metrics=results.metrics("num_examples", "num_steps", "num_epochs"),
        )

    def evaluate(self, parameters: Arrays, data: Site | None, context: Context) -> Evaluation:
        """Have ``evaluate`` evaluate, or at the orchestrator ``holdout``."""
        task = "evaluate" if context.client_id else "holdout"
        if data is None or task not in self._words:
            return Evaluation(None, 0)
        results = self._run(task, context, data, parameters)
        if results.was_stopped:
            raise UserCodeError(f"{results.task}: its time was over before it ended")
        return Evaluation(
            loss=results.numbers.get("loss"),
            num_examples=results.count("num_examples", data.num_examples),
            metrics=results.metrics("num_examples", "loss"),
        )

    def _check_there(self, task: str) -> None:
        if shutil.which(program := self._words[task][0]) is None:
            raise ConfigurationError(
                f"workload command: {task}={self._commands[task]}: there is no program {program!r} on the PATH, or in "
                f"this folder ({Path.cwd()}) by a name like ./{Path(program).name}"
            )

    def _run(self, task: str, context: Context, site: Site | None = None, parameters: Arrays | None = None) -> Results:
        """Run a task's program in its time and read what it has written.

        Raises:
            UserCodeError: If it ended otherwise than well, or what it has written can't be read.
        """
        self._check_there(task)
        command, time_s = self._commands[task], min(context.budget.left_s, MOST_S)
        with tempfile.TemporaryDirectory(prefix="celeriac-", ignore_cleanup_errors=True) as name:
            files = Files(Path(name))
            if parameters is not None:
                files.write(parameters)
            told = {**_told(task, context, site, time_s - grace_s(time_s)), **files.told()}
            ended = run_program(self._words[task], {**os.environ, **told}, time_s, files.folder, task)
            if ended.code and not ended.was_stopped:
                raise UserCodeError(f"{task}: {command!r} {ended}")
            return files.read(task, was_stopped=ended.was_stopped)

    def _updated(self, results: Results) -> Arrays:
        """Return the arrays that a program had to write."""
        if results.update is None:
            how = "had its time, and" if results.was_stopped else "ended well and"
            raise UserCodeError(f"{results.task}: {self._commands[results.task]!r} {how} wrote no FL_UPDATE")
        return results.update


def _told(task: str, context: Context, site: Site | None, time_left_s: float) -> dict[str, str]:
    """Return what a program is told in its environment, beside the paths of its files."""
    options = context.options
    told: dict[str, object] = {
        "TASK": task,
        "CLIENT_ID": context.client_id,
        "ROUND": context.round_number,
        "NUM_ROUNDS": context.num_rounds,
        "SEED": context.seed,
        "TIME_LEFT_S": f"{max(time_left_s, 0.0):.3f}",
        "DEVICE": context.device,
        "EPOCHS": options.epochs,
        "BATCH_SIZE": options.batch_size,
        "MAX_STEPS": options.max_steps or "",
        "LEARNING_RATE": options.learning_rate,
        "DATA": (site and site.source.folder) or "",
        "PART": site.source.part if site else "",
        "RUN_CONFIG": json.dumps(dict(context.run_config)),
        **{
            f"RUN_CONFIG_{name}": value if isinstance(value, str) else json.dumps(value)
            for name, value in context.run_config.items()
        },
    }
    return {f"FL_{name}": str(value) for name, value in told.items()}


def _words(task: str, command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"workload command: {task}={command}: {error}") from None


def _declared(better: str) -> dict[str, Metric]:
    name, colon, direction = better.rpartition(":")
    if not colon or direction not in ("higher", "lower"):
        raise ConfigurationError(f"workload command: better={better}: write NAME:higher or NAME:lower, like auc:higher")
    return {name: Metric("higher" if direction == "higher" else "lower")}
