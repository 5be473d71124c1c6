"""The workload: what is trained, on which data, and how. It is the user's own part of a federation.

A workload is a class with four duties: initial parameters, data (a client's own, and the orchestrator's held-out),
local training, evaluation. Its contract is named NumPy arrays, so that it may train with whatever it likes.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.described import described
from tasks.errors import ConfigurationError, LoadError
from tasks.evaluation import Evaluation
from tasks.metrics import Metric
from tasks.plugins import load
from tasks.results import Result
from tasks.run_config import RunSetting
from tasks.spec import WorkloadSpec
from tasks.statistics import Statistics

StartMethod = Literal["spawn", "fork", "solo"]
"""How the processes that train come by what a client has: see :attr:`Workload.start_method`."""
DATA_SETS = {
    "cifar10": "celeriac.workloads.datasets.cifar:Cifar10",
    "cifar100": "celeriac.workloads.datasets.cifar:Cifar100",
    "digits": "celeriac.workloads.datasets.digits:Digits",
    "emnist": "celeriac.workloads.datasets.emnist:Emnist",
    "fashion-mnist": "celeriac.workloads.datasets.fashion_mnist:FashionMnist",
    "femnist-leaf": "celeriac.workloads.datasets.leaf:FemnistLeaf",
    "mnist": "celeriac.workloads.datasets.mnist:Mnist",
    "shakespeare": "celeriac.workloads.datasets.shakespeare:Shakespeare",
    "shakespeare-leaf": "celeriac.workloads.datasets.leaf:ShakespeareLeaf",
}
"""Workloads of a data set that comes with the project, or is known to it, and where they are."""
BUILT_IN = {
    "command": "celeriac.workloads.command:Command",
    "table": "celeriac.workloads.tables.tabular:Tabular",
    **DATA_SETS,
}
"""All workloads that come with the project."""
RUNS_PROGRAMS = ("command",)
"""Those of them whose parameters are programs to be run."""


_MAX_PART_LENGTH = 30
"""Characters of the text of a part: no more than two numbers that a file's examples could have."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a data set that several clients share is a client's own; ``index`` counts from 0."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigurationError(f"part {self.index + 1} of {self.count}: parts are counted from 1 to their number")

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``2/4``: the second of four parts.

        Raises:
            ConfigurationError: If ``text`` isn't of this form.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and len(text) <= _MAX_PART_LENGTH):
            raise ConfigurationError(f"part {text!r}: write the number of the part and of all parts, like 2/4")
        return cls(int(number) - 1, int(count))

    def __str__(self) -> str:
        """Return the form that :meth:`parse` reads."""
        return f"{self.index + 1}/{self.count}"


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a client's data is: its folder, if it was given one, and its part of a shared data set."""

    folder: Path | None = None
    part: Part = Part(0, 1)


@dataclass(frozen=True, slots=True)
class ClientData:
    """A client's own data, in whatever form its workload trains on.

    Attributes:
        train: Examples to train on.
        test: Examples held out at the client, for federated evaluation; never trained on.
        num_train: Number of examples in ``train``; left out, it is the length of ``train``, or of its targets.
        labels: Number of training examples of each label, as the client announces them; empty if there are none.
        num_test: Number of examples in ``test``; left out, it is counted as ``num_train`` is. None: it isn't known.

    Raises:
        ConfigurationError: If ``num_train`` is left out, and ``train`` has no length.
    """

    train: Any
    test: Any
    num_train: int = None  # type: ignore[assignment]  # it is put in below
    labels: Mapping[str, int] = field(default_factory=dict)
    num_test: int | None = None

    def __post_init__(self) -> None:
        """Count the examples if their number isn't given."""
        num_train: int | None = self.num_train
        if num_train is None and (num_train := _length(self.train)) is None:
            raise ConfigurationError(
                f"ClientData(train={type(self.train).__name__}): how many examples these are isn't known: "
                "num_train is needed"
            )
        object.__setattr__(self, "num_train", num_train)
        if self.num_test is None:
            object.__setattr__(self, "num_test", _length(self.test))


def _length(data: Any) -> int | None:
    """Return how many examples data has: a loader's, targets', a dict's or tuple's first part's, or its own length."""
    for name in ("sampler", "targets"):
        if hasattr(data, name) and (length := _length(getattr(data, name))) is not None:
            return length
    if isinstance(data, Mapping | tuple) and data:
        return _length(next(iter(data.values() if isinstance(data, Mapping) else data)))
    try:
        return len(data)
    except TypeError:
        return None


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What local training returns.

    Attributes:
        parameters: The trained parameters; names, shapes and dtypes are those that came in. Empty if there are none,
            or the algorithm takes none.
        num_examples: Examples in the client's training data; an update weighs as many.
        num_steps: Optimiser steps done; 1 where there are none to count.
        num_epochs: Passes over the data done.
        metrics: Whatever is worth recording, like ``train_loss``.
        optimizer: What took the steps, like ``SGD with momentum=0.9``, where it wasn't plain SGD at the options'
            learning rate: algorithms that are meant for that alone refuse it. Empty if it was, or isn't said.
        results: Further arrays, those that :meth:`Workload.results` declares.
    """

    parameters: Arrays
    num_examples: int
    num_steps: int = 1
    num_epochs: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    optimizer: str = ""
    results: Arrays = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gradients:
    """The mean loss over some examples, and its gradients by the parameters that are trained."""

    loss: float
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Step:
    """A training step that is about to be done.

    Attributes:
        parameters: The model's parameters before the step. Not to be changed.
        gradients: Those of the batch's mean loss at ``parameters``, for each parameter that is trained.
        gradients_at: Returns the same batch's gradients at other parameters, with the same random draws (dropout's
            masks, say): at ``parameters`` they are ``gradients``.
    """

    parameters: Arrays
    gradients: Arrays
    gradients_at: Callable[[Arrays], Arrays]


Direction = Callable[[Step], Arrays]
"""From a step to what the optimiser takes in place of its gradients; an algorithm's way to change each step."""


class Workload(ABC):
    """Base of every workload; subclass it, or :class:`celeriac.workloads.torch_workload.TorchWorkload` for PyTorch."""

    splits_data: ClassVar[bool] = True
    """True if the clients share one data set and each takes its :class:`Part`; False if each has data of its own."""
    start_method: ClassVar[StartMethod] = "spawn"
    """How the processes that train come by what a client has. ``spawn``: each loads it, and is made before anything of
    a user's is loaded. ``fork``: the worker's main process loads it, and they share its memory; it must start no
    threads. ``solo``: there is one process for everything, in which the budget's clock alone ends training."""
    run_config: ClassVar[Mapping[str, RunSetting] | None] = None
    """The study's own settings and their defaults; others, or of another kind, are refused. None: any may be given."""

    known_metrics: ClassVar[Mapping[str, Metric]] = {}
    """What is known of the metrics that ``evaluate`` and ``train`` return, by name; the one to go by comes first."""

    @abstractmethod
    def client_data(self, source: DataSource) -> ClientData:
        """Load a client's own data.

        Raises:
            DataMissingError: If it isn't there.
        """

    @abstractmethod
    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Train from ``parameters`` (not to be changed) on ``ClientData.train`` until done or out of time."""

    def initial_parameters(self, context: Context) -> Arrays:
        """Return the parameters that round 1 starts from; equal seeds give equal parameters.

        By default there are none: that will do where training returns nothing but results.
        """
        return {}

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Evaluate ``parameters`` on ``data`` (``ClientData.test``, or what :meth:`holdout_data` returned).

        By default nothing is said of them.
        """
        return Evaluation(None, 0)

    def holdout_data(self, folder: Path | None) -> Any:
        """Load the orchestrator's held-out examples, which no client has; by default there are none.

        Raises:
            DataMissingError: If they aren't where they should be.
        """
        return None

    def warm_up(self, data: Any) -> None:  # noqa: B027  # optional
        """Do what training does only the first time, such as to import or to compile; by default nothing.

        Called once in each process that trains, before its clients are announced, so that it takes no time of their
        first order.

        Args:
            data: ``ClientData.train`` of one of the clients.
        """

    def buffer_names(self, context: Context) -> frozenset[str]:
        """Return the names of those parameters that aren't trained but counted or measured, like running statistics.

        They are averaged as all are; algorithms go no further with them than that.
        """
        return frozenset()

    def results(self, context: Context) -> Mapping[str, Result]:
        """Declare the arrays that training returns beside the parameters, by name, each with its reduction.

        What becomes of all clients' in a round reaches the algorithm's step and the run's folder.
        """
        return {}

    def optimizer_name(self, context: Context) -> str:
        """Return what takes the steps, like ``Adam``; empty if it is plain SGD at the options' rate, or isn't known.

        Algorithms that are meant for plain SGD alone are refused before the run begins where it is another.
        """
        return ""

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        """Train as :meth:`train` does, but have each step go along ``direction``.

        For algorithms that change the clients' steps (FedProx, SCAFFOLD, …); the others do without.

        Raises:
            ConfigurationError: If this workload can't.
        """
        raise ConfigurationError(_cannot(self, "train_along", "changes the clients' training steps"))

    def gradients(self, parameters: Arrays, data: Any, context: Context) -> Gradients:
        """Return the mean loss at ``parameters`` over all of ``ClientData.train``, and its gradients.

        For algorithms that ask for it (Mime, MimeLite).

        Raises:
            ConfigurationError: If this workload can't.
        """
        raise ConfigurationError(_cannot(self, "gradients", "asks clients for their gradients"))

    def columns(self, data: ClientData) -> Mapping[str, Any]:
        """Return what ``python -m orchestrator.statistics`` may tell of a client's data: columns by name.

        Args:
            data: The client's own, as :meth:`client_data` returned it.

        Returns:
            Columns of one value a row: arrays of numbers, or of names, which are counted. None, NaN and masked values
            are missing.

        Raises:
            ConfigurationError: If this workload has none.
        """
        raise ConfigurationError(
            f"statistics are of columns, and workload {type(self).__name__} has no columns(): see docs/statistics.md"
        )

    def prepare(self, statistics: Statistics, context: Context) -> Mapping[str, RunSetting]:
        """Return settings of the study that follow from what clients have, like means to scale their columns by.

        By default there are none, and no client is asked. A workload that overrides this is asked once, before the
        initial model is made. All find the settings in ``context.run_config`` from then on; where ``--run-config`` has
        one of them, that holds.

        Args:
            statistics: What the clients that were there told of their :meth:`columns`.
            context: The orchestrator's.

        Raises:
            ConfigurationError: If there can be no run with such data.
        """
        return {}


def wants_statistics(workload: Workload) -> bool:
    """Say whether the clients are to be asked for statistics before the initial model is made."""
    return type(workload).prepare is not Workload.prepare


def _cannot(workload: Workload, method: str, what: str) -> str:
    return f"the algorithm {what}, and workload {type(workload).__name__} has no {method}(): see docs/algorithms.md"


def can_train_along(workload: Workload) -> bool:
    """Say whether ``train_along`` is this workload's own, and not that of a base whose ``train`` it has replaced."""
    for kind in type(workload).__mro__:
        if "train_along" in vars(kind):
            return kind is not Workload
        if "train" in vars(kind):
            return False
    return False


def load_workload(spec: str) -> Workload:
    """Return a new workload by its spec; see :func:`find_workload`."""
    return find_workload(spec)()


def find_workload(spec: str) -> Callable[[], Workload]:
    """Return what makes a new workload each time, by its spec, ``NAME[,KEY=VALUE...]``.

    The name is a built-in one, or ``module:name`` of a class or an instance. A class is called with the parameters as
    keyword arguments, strings all of them; an instance, which takes none, is copied with all that it holds. What is
    returned raises as this does, should the class find a value wrong or fail.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or isn't a workload.
        ConfigurationError: If it has no such parameter.
    """
    parsed = WorkloadSpec.parse(spec)
    found = load("workload", parsed.name, BUILT_IN)
    kind = found if isinstance(found, type) else type(found)
    if not issubclass(kind, Workload):
        raise LoadError(f"workload {spec!r} is {kind.__name__}, not a Workload: subclass tasks.workload.Workload")
    _check_parameters(parsed, found)

    def make() -> Workload:
        try:
            return copy.deepcopy(found) if isinstance(found, Workload) else kind(**parsed.arguments())
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's class raises while it is made
            raise LoadError(f"workload {spec!r}: making it failed: {described(error)}") from error

    return make


def load_start_method(spec: str) -> StartMethod:
    """Return how the processes come by what a client has that train a workload, without making it.

    Raises:
        ConfigurationError: If the workload can't be imported, or says something else.
    """
    name = WorkloadSpec.parse(spec).name
    method = getattr(load("workload", name, BUILT_IN), "start_method", Workload.start_method)
    if method not in get_args(StartMethod):
        raise ConfigurationError(
            f"workload {name!r} has start_method={method!r}: one of {', '.join(get_args(StartMethod))} is allowed"
        )
    checked: StartMethod = method
    return checked


def _check_parameters(spec: WorkloadSpec, found: object) -> None:
    """Refuse parameters that the workload's class doesn't take."""
    if not spec.parameters:
        return
    parameters = inspect.signature(found).parameters.values() if isinstance(found, type) else ()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    allowed = [parameter.name.replace("_", "-") for parameter in parameters if parameter.kind in by_name]
    wrong = [key for key in spec.parameters if key not in allowed]
    if wrong:
        known = f"it has {', '.join(allowed)}" if allowed else "it has none"
        raise ConfigurationError(f"workload {spec.name!r} has no parameter {wrong[0]!r}: {known}")
