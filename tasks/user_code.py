"""Calling users' code: what it raises and what it returns becomes an error that says what was wrong, and where.

The functions that check what was returned raise :class:`UserCodeError` if it isn't what it has to be.
"""

from __future__ import annotations

import json
import operator
import re
import signal
from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tasks import results
from tasks.announcement import MAX_LABEL_LENGTH, MAX_LABELS, MAX_LABELS_BYTES
from tasks.arrays import Arrays, difference, spec_of
from tasks.auxiliary import check_names
from tasks.context import Context, State
from tasks.described import described, located
from tasks.errors import ArraysError, FederationError
from tasks.evaluation import Evaluation
from tasks.messages import MAX_COUNT
from tasks.metrics import MAX_METRICS, MAX_NAME_LENGTH, NAME_PATTERN, Declared, Metric
from tasks.run_config import RunSettings
from tasks.workload import ClientData, Gradients, TrainResult, Workload

SEE_LOG = "; see the log of its worker"
"""What a client's answer says at its end, where the log has the exception whole."""

_ARRAY_KINDS = (np.ndarray, np.generic)
_SETTINGS = TypeAdapter(RunSettings)


class UserCodeError(FederationError):
    """Raised when a user's code raised something, or returned something else than it has to.

    Attributes:
        located: The same without the text of what was raised, in which there may be paths and data.
    """

    def __init__(self, text: str, located: str | None = None) -> None:
        super().__init__(text)
        self.located = text if located is None else located


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Make what users' code raises, ``sys.exit()`` and KeyboardInterrupt included, an error that says so.

    Args:
        what: What is called, like ``train()``.

    Raises:
        UserCodeError: With the exception's kind and text, and the file and line of the user's code; the exception
            itself is its cause.
    """
    try:
        yield
    except ArraysError as error:
        raise UserCodeError(f"{what}: {error}") from error
    except FederationError:
        raise  # its message is for users
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise  # somebody pressed Ctrl-C; our own processes take that another way
        raise UserCodeError(f"{what}: {described(error)}", f"{what}: {located(error)}") from error


def checked_client_data(returned: object) -> ClientData:
    """Return what ``client_data()`` returned, its labels as text."""
    data: ClientData = _checked(
        returned, ClientData, "client_data() returned", "a ClientData(train, test, num_train, labels)"
    )
    num_train = _count(data.num_train, "client_data() returned num_train")
    num_test = None if data.num_test is None else _count(data.num_test, "client_data() returned num_test")
    needed = "a dict with the number of examples of each label"
    given: Mapping[object, object] = _checked(data.labels, Mapping, "client_data() returned labels that are", needed)
    labels = {
        _label(label): _count(count, f"client_data() returned labels: the number of {label!r}")
        for label, count in given.items()
    }
    if len(labels) < len(data.labels):
        raise UserCodeError("client_data() returned labels of which two are one as text: 3 and '3', say")
    _check_labels(labels)
    return replace(data, num_train=num_train, num_test=num_test, labels=labels)


def _check_labels(labels: Mapping[str, int]) -> None:
    """Refuse labels that can't be announced."""
    if len(labels) > MAX_LABELS:
        raise UserCodeError(f"client_data() returned {len(labels)} labels: at most {MAX_LABELS} are allowed")
    longest = max(labels, key=len, default="")
    if len(longest) > MAX_LABEL_LENGTH:
        raise UserCodeError(
            f"client_data() returned labels with {longest[:20]!r}…, which has {len(longest)} characters: "
            f"at most {MAX_LABEL_LENGTH} are allowed"
        )
    num_bytes = len(json.dumps(labels, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if num_bytes > MAX_LABELS_BYTES:
        raise UserCodeError(
            f"client_data() returned labels that take {num_bytes} bytes with their numbers: at most {MAX_LABELS_BYTES} "
            "are allowed"
        )


def checked_parameters(returned: object, *, may_be_none: bool = False) -> Arrays:
    """Return what ``initial_parameters()`` returned; with ``may_be_none`` there may be no model at all."""
    parameters = checked_arrays(returned, "initial_parameters() returned parameters")
    if not parameters and not may_be_none:
        raise UserCodeError("initial_parameters() returned no arrays: at least one is needed")
    with user_code("initial_parameters()"):
        check_names(spec_of(parameters))
    return parameters


def checked_buffers(returned: object) -> frozenset[str]:
    """Return what ``buffer_names()`` returned."""
    needed = "a set of names of parameters"
    names: Set[object] = _checked(returned, Set, "buffer_names() returned", needed)
    return frozenset(_checked(name, str, f"buffer_names() returned {name!r}, which is", needed) for name in names)


def declared_results(workload: Workload, context: Context) -> results.Declared:
    """Return what a workload declares of its results."""
    needed = "a dict of Results by name"
    with user_code("results()"):
        declared: results.Declared = _checked(workload.results(context), Mapping, "results() returned", needed)
    for name, result in declared.items():
        _checked(name, str, f"results() returned the name {name!r}, which is", needed)
        _checked(result, results.Result, f"results() returned for {name!r}", "a Result(reduction, shape, dtype)")
    return dict(declared)


def checked_result(returned: object, model: Arrays, declared: results.Declared, method: str = "train()") -> TrainResult:
    """Return what ``train()`` or ``train_along()`` returned for a model, its numbers as Python's own.

    Args:
        returned: What it returned.
        model: The model.
        declared: What the workload declares of its results. With any it may return no parameters at all.
        method: The method.
    """
    needed = "a TrainResult(parameters, num_examples, num_steps, num_epochs, metrics)"
    result: TrainResult = _checked(returned, TrainResult, f"{method} returned", needed)
    has_parameters = bool(result.parameters) or not declared
    found = checked_arrays(result.results, f"{method} returned results")
    if wrong := results.difference(found, declared):
        raise UserCodeError(f"{method} returned results: {wrong}")
    return replace(
        result,
        parameters=_like(result.parameters, model, f"{method} returned parameters") if has_parameters else {},
        results=found,
        num_examples=_count(result.num_examples, f"{method} returned num_examples"),
        num_steps=_count(result.num_steps, f"{method} returned num_steps"),
        num_epochs=_number(result.num_epochs, f"{method} returned num_epochs"),
        metrics=_metrics({} if result.metrics is None else result.metrics, method),
    )


def checked_gradients(returned: object, model: Arrays) -> Gradients:
    """Return what ``gradients()`` returned for a model."""
    gradients: Gradients = _checked(returned, Gradients, "gradients() returned", "a Gradients(loss, arrays)")
    checked_arrays(gradients.arrays, "gradients() returned arrays")
    trained = {name: values for name, values in model.items() if name in gradients.arrays}
    loss = _number(gradients.loss, "gradients() returned loss")
    return Gradients(loss, _like(gradients.arrays, trained, "gradients() returned arrays"))


def checked_state(state: State) -> tuple[Arrays, str]:
    """Return what ``train()`` left in ``context.state``: its arrays, and the JSON of the rest."""
    arrays = {name: np.asarray(value) for name, value in state.items() if isinstance(value, _ARRAY_KINDS)}
    try:
        for name in state:
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} is {type(name).__name__}, a text is needed")
        spec_of(arrays)
        return arrays, json.dumps({name: value for name, value in state.items() if name not in arrays})
    except (ArraysError, TypeError, ValueError) as error:
        raise UserCodeError(f"train() left in context.state what can't be kept: {error}") from None


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
        workload.known_metrics, Mapping, f"{type(workload).__name__}.known_metrics is", needed
    )
    for name, metric in declared.items():
        _checked(metric, Metric, f"{type(workload).__name__}.known_metrics has {name!r} as", needed)
    _check_metric_names(declared, f"{type(workload).__name__}.known_metrics has")
    return {str(name): metric for name, metric in declared.items() if isinstance(metric, Metric)}


def checked_prepared(returned: object) -> RunSettings:
    """Return the settings that ``prepare`` made of clients' statistics."""
    try:
        return _SETTINGS.validate_python(returned)
    except ValidationError as error:
        raise UserCodeError(
            f"prepare() returned {returned!r:.100}: a dict of settings by name is needed, each a finite number, "
            f"true, false, a text, or a list of these: {error.errors()[0]['msg']}"
        ) from None


def checked_arrays(returned: object, what: str) -> Arrays:
    """Return named arrays that users' code returned.

    Args:
        returned: What it returned.
        what: The beginning of the sentence that says what was wrong with it.
    """
    needed = "a dict of NumPy arrays by name"
    arrays: Arrays = _checked(returned, Mapping, f"{what} that are", needed)
    for name, values in arrays.items():
        _checked(name, str, f"{what} with the name {name!r}, which is", needed)
        _checked(values, _ARRAY_KINDS, f"{what} of which {name!r} is", needed)
    return arrays


def check_sets(sets: object, what: str) -> None:
    """Check that users' code returned named sets of named arrays; see :func:`checked_arrays`."""
    for kind, arrays in _checked(sets, Mapping, f"{what} that are", "a dict of dicts of NumPy arrays").items():
        checked_arrays(arrays, f"{what} of which {kind!r} has arrays")


def _like(returned: object, model: Arrays, what: str) -> Arrays:
    """Return named arrays that have a model's names, shapes and dtypes."""
    arrays = checked_arrays(returned, what)
    with user_code(what):
        found = spec_of(arrays)
    if wrong := difference(found, spec_of(model)):
        raise UserCodeError(f"{what}: {wrong}")
    return arrays


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
        if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or re.fullmatch(NAME_PATTERN, name) is None:
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
