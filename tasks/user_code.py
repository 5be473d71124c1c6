"""Calling users' code: what it raises and what it returns becomes an error that says what was wrong, and where."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.errors import FederationError
from tasks.own_packages import OWN_PACKAGES
from tasks.workload import Evaluation, TrainResult

MAX_TEXT = 300
"""Characters of an exception's text that are told; all of it is in the log."""
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


class UserCodeError(FederationError):
    """Raised when a user's code raised something, or returned something else than it has to."""


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Make what users' code raises, ``sys.exit()`` included, an error that says so.

    Args:
        what: What is called, like ``train()``.

    Raises:
        UserCodeError: With the exception's kind and text, and the file and line of the user's code; the exception
            itself is its cause.
    """
    try:
        yield
    except FederationError:
        raise  # its message is for users
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{what}: {described(error)}") from error


def described(error: BaseException) -> str:
    """Return an exception's kind, its text or the line that raised it, and where in the user's code that was."""
    frame = _frame_of_user(error)
    where = f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})" if frame else ""
    text = str(error).strip().partition("\n")[0]
    if not text and frame and frame.lineno:
        text = linecache.getline(frame.filename, frame.lineno).strip()
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}…"
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _frame_of_user(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame that is neither ours nor an installed package's; the innermost of all if none is."""
    frames = list(traceback.walk_tb(error.__traceback__))
    users = [
        pair for pair in frames if not _is_foreign(str(pair[0].f_globals.get("__name__")), pair[0].f_code.co_filename)
    ]
    summaries = traceback.StackSummary.extract((users or frames)[-1:])
    return summaries[0] if summaries else None


def _is_foreign(module: str, filename: str) -> bool:
    return module.partition(".")[0] in OWN_PACKAGES or filename.startswith(("<", *_INSTALLED))


def checked_result(result: object) -> TrainResult:
    """Return what ``train()`` or ``train_along()`` returned, its metrics as floats.

    Raises:
        UserCodeError: If it isn't what it has to be.
    """
    if not isinstance(result, TrainResult):
        raise UserCodeError(
            f"train() returned {type(result).__name__}: "
            "a TrainResult(parameters, num_examples, num_steps, num_epochs, metrics) is needed"
        )
    check_arrays(result.parameters, "train() returned parameters")
    for name in ("num_examples", "num_steps", "num_epochs"):
        _number(getattr(result, name), f"train() returned {name}")
    metrics = result.metrics or {}
    if not isinstance(metrics, Mapping):
        raise UserCodeError(f"train() returned metrics that are {type(metrics).__name__}: a dict of numbers is needed")
    return replace(
        result, metrics={str(name): _number(value, f"metric {name!r} of train()") for name, value in metrics.items()}
    )


def checked_evaluation(evaluation: object) -> Evaluation:
    """Return what ``evaluate()`` returned.

    Raises:
        UserCodeError: If it isn't what it has to be.
    """
    if not isinstance(evaluation, Evaluation):
        raise UserCodeError(
            f"evaluate() returned {type(evaluation).__name__}: an Evaluation(loss, accuracy, num_examples) is needed"
        )
    return evaluation


def check_arrays(arrays: object, what: str) -> None:
    """Check that users' code returned named arrays.

    Args:
        arrays: What it returned.
        what: The beginning of the sentence that says what was wrong with it.

    Raises:
        UserCodeError: If it is no dict of NumPy arrays.
    """
    needed = "a dict of NumPy arrays by name is needed"
    if not isinstance(arrays, Mapping):
        raise UserCodeError(f"{what} that are {type(arrays).__name__}: {needed}")
    for name, values in arrays.items():
        if not isinstance(name, str):
            raise UserCodeError(f"{what} with the name {name!r}, which is {type(name).__name__}: {needed}")
        if not isinstance(values, np.ndarray | np.generic):
            raise UserCodeError(f"{what} of which {name!r} is {type(values).__name__}: {needed}")


def _number(value: object, what: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is: that is the question
    except (TypeError, ValueError):
        raise UserCodeError(f"{what}: {type(value).__name__} is no number") from None
