"""Calling users' code: what it raises and what it returns becomes an error that says what was wrong, and where.

The functions that check what was returned raise :class:`UserCodeError` if it isn't what it has to be.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.announcement import MAX_LABELS
from tasks.described import described
from tasks.errors import FederationError
from tasks.evaluation import Evaluation
from tasks.messages import MAX_COUNT
from tasks.metrics import MAX_METRICS, NAME_PATTERN, Declared, Metric
from tasks.workload import ClientData, TrainResult, Workload

SEE_LOG = "; see the log of its worker"
"""What a client's answer says at its end, where the log has the exception whole."""


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


def checked_client_data(returned: object) -> ClientData:
    """Return what ``client_data()`` returned, its labels as text."""
    data: ClientData = _checked(
        returned, ClientData, "client_data() returned", "a ClientData(train, test, num_train, labels)"
    )
    num_train = _count(data.num_train, "client_data() returned num_train")
    needed = "a dict with the number of examples of each label"
    given: Mapping[object, object] = _checked(data.labels, Mapping, "client_data() returned labels that are", needed)
    labels = {
        _label(label): _count(count, f"client_data() returned labels: the number of {label!r}")
        for label, count in given.items()
    }
    if len(labels) < len(data.labels):
        raise UserCodeError("client_data() returned labels of which two are one as text: 3 and '3', say")
    if len(labels) > MAX_LABELS:
        raise UserCodeError(f"client_data() returned {len(labels)} labels: at most {MAX_LABELS} are allowed")
    return replace(data, num_train=num_train, labels=labels)


def checked_result(returned: object) -> TrainResult:
    """Return what ``train()`` or ``train_along()`` returned, its metrics as floats."""
    needed = "a TrainResult(parameters, num_examples, num_steps, num_epochs, metrics)"
    result: TrainResult = _checked(returned, TrainResult, "train() returned", needed)
    check_arrays(result.parameters, "train() returned parameters")
    for name in ("num_examples", "num_steps", "num_epochs"):
        _number(getattr(result, name), f"train() returned {name}")
    return replace(result, metrics=_metrics(result.metrics or {}, "train()"))


def checked_evaluation(returned: object) -> Evaluation:
    """Return what ``evaluate()`` returned, its numbers as Python's own."""
    needed = "an Evaluation(loss, num_examples, metrics)"
    evaluation: Evaluation = _checked(returned, Evaluation, "evaluate() returned", needed)
    loss, metrics = evaluation.loss, _metrics(evaluation.metrics, "evaluate()")
    if "loss" in metrics:
        raise UserCodeError("evaluate() returned a metric 'loss': it is the first argument of Evaluation")
    return Evaluation(
        loss=None if loss is None else _number(loss, "evaluate() returned loss"),
        num_examples=_count(evaluation.num_examples, "evaluate() returned num_examples"),
        metrics=metrics,
    )


def checked_declared(workload: Workload) -> Declared:
    """Return what a workload declares of its metrics."""
    needed = 'a dict like {"auc": Metric("higher")}'
    declared: Mapping[object, object] = _checked(
        workload.metrics, Mapping, f"{type(workload).__name__}.metrics is", needed
    )
    for name, metric in declared.items():
        _checked(metric, Metric, f"{type(workload).__name__}.metrics has {name!r} as", needed)
    _check_metric_names(declared, f"{type(workload).__name__}.metrics has")
    return {str(name): metric for name, metric in declared.items() if isinstance(metric, Metric)}


def check_arrays(arrays: object, what: str) -> None:
    """Check that users' code returned named arrays.

    Args:
        arrays: What it returned.
        what: The beginning of the sentence that says what was wrong with it.
    """
    needed = "a dict of NumPy arrays by name"
    for name, values in _checked(arrays, Mapping, f"{what} that are", needed).items():
        _checked(name, str, f"{what} with the name {name!r}, which is", needed)
        _checked(values, np.ndarray | np.generic, f"{what} of which {name!r} is", needed)


def check_sets(sets: object, what: str) -> None:
    """Check that users' code returned named sets of named arrays; see :func:`check_arrays`."""
    for kind, arrays in _checked(sets, Mapping, f"{what} that are", "a dict of dicts of NumPy arrays").items():
        check_arrays(arrays, f"{what} of which {kind!r} has arrays")


def _checked(found: Any, kind: Any, what: str, needed: str) -> Any:
    """Return what users' code returned if it is of the kind that is needed."""
    if not isinstance(found, kind):
        raise UserCodeError(f"{what} {type(found).__name__}: {needed} is needed")
    return found


def _number(value: object, what: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is: that is the question
    except (TypeError, ValueError):
        raise UserCodeError(f"{what}: {type(value).__name__} is no number") from None


def _metrics(given: object, method: str) -> dict[str, float]:
    """Return the metrics that a method returned, as floats; some may not be finite."""
    metrics = _checked(given, Mapping, f"{method} returned metrics that are", "a dict of numbers by name")
    _check_metric_names(metrics, f"{method} returned")
    numbers = {name: _number(value, f"metric {name!r} of {method}") for name, value in metrics.items()}
    accuracy = numbers.get("accuracy", 0.0)
    if accuracy < 0 or accuracy > 1:
        raise UserCodeError(f"{method} returned accuracy {accuracy:g}: a share from 0 to 1 is allowed")
    return numbers


def _check_metric_names(names: Collection[object], what: str) -> None:
    if len(names) > MAX_METRICS:
        raise UserCodeError(f"{what} {len(names)} metrics: at most {MAX_METRICS} are allowed")
    for name in names:
        if not isinstance(name, str) or re.fullmatch(NAME_PATTERN, name) is None:
            raise UserCodeError(
                f"{what} a metric called {name!r}: "
                "a text of at most 100 letters, digits, blanks or _.:/@%+-()[] is allowed"
            )


def _label(label: object) -> str:
    """Return a label as text; whole numbers, NumPy's too, are written out."""
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        return str(int(label))
    if not isinstance(label, str):
        raise UserCodeError(
            f"client_data() returned labels with {label!r}, which is {type(label).__name__}: "
            "text or whole numbers are allowed"
        )
    return str(label)


def _count(value: object, what: str) -> int:
    try:
        count = operator.index(value)  # type: ignore[arg-type]  # whatever it is: that is the question
    except TypeError:
        raise UserCodeError(f"{what} is {type(value).__name__}: a whole number is needed") from None
    if not 0 <= count <= MAX_COUNT:
        raise UserCodeError(f"{what} is {count}: 0 to {MAX_COUNT} is allowed")
    return count
