"""The built-in workload ``table``: a target of a table from its other columns, by a linear model or a perceptron."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ValidationError
from torch import Tensor, nn

from celeriac.workloads.batches import Batches
from celeriac.workloads.parameters import read_share
from celeriac.workloads.splits import CLIENT_TEST_SHARE, hold_out
from celeriac.workloads.tables.columns import are_two_classes, holds_numbers, names_of, numbers_of, one_name
from celeriac.workloads.tables.measures import auc_of_classes, errors_of_numbers
from celeriac.workloads.tables.rows import CellError, Rows, read_rows, tables_in
from celeriac.workloads.tables.schema import Schema, agree
from celeriac.workloads.tables.sharing import share_of
from celeriac.workloads.torch_workload import TorchWorkload
from tasks.context import Context
from tasks.errors import ConfigurationError, DataMissingError
from tasks.evaluation import Evaluation
from tasks.metrics import Metric
from tasks.plugins import near_name
from tasks.run_config import RunSetting
from tasks.statistics import Statistics
from tasks.workload import ClientData, DataSource

logger = logging.getLogger(__name__)

SEED = 1_812
"""Of the rows that a client holds out."""
HELD_OUT = "held-out"
"""What the file with the orchestrator's rows is called, before its suffix."""
SCHEMA = "schema"
"""The setting that clients' statistics make."""
NETS = ("linear", "mlp")
TASKS = ("classes", "number")


class Tabular(TorchWorkload):
    """Trains on a client's table; each client holds out a share of its rows.

    Args:
        target: The column to learn.
        site: The column that says whose a row is, by which local clients share a file; it is no input.
        file: The table's name in the folder; None: it is the only one there.
        net: ``linear`` (logistic, softmax or linear regression) or ``mlp``, with layers of the setting ``hidden``.
        task: ``classes`` or ``number``; None: a target of numbers is a number, unless they are 0 and 1 alone.
        classes: The target's classes with ``+`` between them, if they aren't to be those that clients tell of.
        categories: Columns of numbers that are names all the same, with ``+`` between them.
        drop: Columns to leave out, likewise.
        test_share: Share of its rows that a client tests on instead of training, from 0 to under 1.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    splits_data: ClassVar[bool] = False
    run_config: ClassVar[Mapping[str, RunSetting] | None] = {
        "hidden": [64],
        "momentum": 0.0,
        "weight_decay": 0.0,
        SCHEMA: "",
    }
    known_metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("higher", least=0, most=1),
        "rmse": Metric("lower", least=0),
        "auc": Metric("higher", least=0, most=1),
        "r2": Metric("higher", most=1),
    }

    def __init__(
        self,
        target: str = "",
        site: str = "",
        file: str = "",
        net: str = "linear",
        task: str = "",
        classes: str = "",
        categories: str = "",
        drop: str = "",
        test_share: str = str(CLIENT_TEST_SHARE),
    ) -> None:
        if not target:
            raise ConfigurationError("workload table: which column is to be learned? write table,target=NAME")
        if net not in NETS:
            raise ConfigurationError(f"net={net}: {near_name(net, NETS)}")
        if task not in ("", *TASKS) or (task == "number" and classes):
            raise ConfigurationError(f"task={task}: {' or '.join(TASKS)} is allowed, and no classes= with a number")
        self._target, self._site, self._file, self._net = target, site, file, net
        self._task = "classes" if classes else task
        self._classes = tuple(map(one_name, _listed(classes)))
        self._categories = frozenset(_listed(categories))
        self._dropped = frozenset(_listed(drop))
        if target in self._left_out:
            raise ConfigurationError(f"target={target}: it is to be learned, and left out by site= or drop=")
        self._test_share = read_share(test_share)
        self._encode = functools.lru_cache(maxsize=2)(_encoded)

    def client_data(self, source: DataSource) -> ClientData:
        """Return the client's rows that have a target, and of these a share to test on.

        Raises:
            DataMissingError: If there is no such table, or a column is partly numbers.
        """
        rows = self._checked(share_of(self._paths(source.folder), source.part, self._site))
        train, test = np.arange(len(rows)), np.arange(0)
        if self._test_share:
            train, test = hold_out(train, self._test_share, SEED)
        return ClientData(rows.take(train), rows.take(test) if len(test) else None)

    def holdout_data(self, folder: Path | None) -> Rows | None:
        """Return the rows of ``held-out.csv``, or ``.parquet``, in the orchestrator's folder; None if there is none."""
        found = [path for path in tables_in(folder) if path.stem == HELD_OUT] if folder else []
        return self._with_target(read_rows(found[0])) if found else None

    def columns(self, data: ClientData) -> dict[str, Any]:
        """Return the columns of the rows to train on, but for those that are no input."""
        rows: Rows = data.train
        return {
            name: numbers_of(rows, name, "") if name in rows.numeric else np.array(names_of(rows, name), dtype=object)
            for name in rows.columns
            if name not in self._left_out
        }

    def prepare(self, statistics: Statistics, context: Context) -> Mapping[str, RunSetting]:
        """Return the schema: what clients agree on of their columns."""
        schema = agree(statistics, self._target, dropped=self._left_out, classes=self._classes)
        return {SCHEMA: schema.model_dump_json()}

    def build_model(self, context: Context) -> nn.Module:
        """Return a new model, from ``(n, inputs)`` to logits ``(n, classes)`` or scaled targets ``(n, 1)``."""
        schema = _schema(context)
        hidden = context.run_config["hidden"] if self._net == "mlp" else []
        if not isinstance(hidden, list) or not all(type(size) is int and size > 0 for size in hidden):
            raise ConfigurationError(f"--run-config hidden={hidden}: whole numbers from 1 are allowed, like [64,32]")
        sizes = [len(schema.names()), *(int(size) for size in hidden), schema.num_outputs]
        layers: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(sizes):
            layers += [nn.Linear(num_in, num_out), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of classes, or of a number the squared error in squared deviations of the target."""
        if targets.is_floating_point():
            return nn.functional.mse_loss(outputs[:, 0], targets)
        return nn.functional.cross_entropy(outputs, targets)

    def are_right(self, outputs: Any, targets: Tensor) -> Tensor | None:
        """Return whether each row's class has the largest output; None of a number."""
        return None if targets.is_floating_point() else outputs.argmax(dim=1) == targets

    def measure(self, outputs: Any, targets: Tensor) -> Mapping[str, float]:
        """Return ``auc`` of classes, ``rmse`` and ``r2`` of a number."""
        found, expected = outputs.double().numpy(), targets.numpy()
        if targets.is_floating_point():
            return errors_of_numbers(found[:, 0], targets.double().numpy())
        return auc_of_classes(found, expected)

    def evaluate(self, parameters: Mapping[str, Any], data: Any, context: Context) -> Evaluation:
        """Return loss and metrics; ``rmse`` is in the target's own unit."""
        found = super().evaluate(parameters, data, context)
        deviation = _schema(context).scale.deviation
        scaled = {name: value * (deviation if name == "rmse" else 1) for name, value in found.metrics.items()}
        return replace(found, metrics=scaled)

    def _batches(self, data: Any, what: str, model: nn.Module, context: Context) -> Batches:
        return super()._batches(self._as_agreed(data, context), what, model, context)

    def _as_agreed(self, rows: Rows, context: Context) -> tuple[Any, Any]:
        """Return rows as the model takes them, by a schema of the columns that this workload uses.

        Raises:
            ConfigurationError: If it is of others.
            DataMissingError: If the rows aren't as was agreed on. At a client it has no value: others read it, too.
        """
        schema = _schema(context)
        if schema.target != self._target or (left_out := schema.columns.keys() & {self._target, *self._left_out}):
            used = f"the target {schema.target!r}" if schema.target != self._target else f"column {min(left_out)!r}"
            raise ConfigurationError(
                f"the schema uses {used}, which workload table doesn't, by its target=, site= or drop="
            )
        try:
            return self._encode(rows, str(context.run_config[SCHEMA]))
        except CellError as error:
            if not context.client_id:
                raise
            raise DataMissingError(f"{error.told} (the client's log has the row)") from error

    @property
    def _left_out(self) -> frozenset[str]:
        return self._dropped | {self._site}

    def _holds_numbers(self, rows: Rows, name: str) -> bool:
        if name in self._categories or (name == self._target and self._task == "classes"):
            return False
        if not holds_numbers(rows, name):
            if name == self._target and self._task == "number":
                numbers_of(rows, name, "task=number says that the target is one")
            return False
        return name != self._target or self._task == "number" or not are_two_classes(numbers_of(rows, name, ""))

    def _paths(self, folder: Path | None) -> list[Path]:
        """Return the folder's tables, the one that is named or all.

        Raises:
            DataMissingError: If there are none.
        """
        if folder is None:
            raise DataMissingError("a table is needed: name its folder, by --data, or at a client by CLIENT_DATA")
        paths = [path for path in tables_in(folder) if path.stem != HELD_OUT]
        if self._file:
            paths = [path for path in paths if path.name == self._file]
        if not paths:
            raise DataMissingError(f"{folder} has no {self._file or 'table, a .csv or .parquet file'}")
        return paths

    def _checked(self, rows: Rows) -> Rows:
        """Return the rows with a target, after looking at what each column holds."""
        for name in sorted(self._categories):
            rows.column(name)
        for name in sorted(self._dropped - rows.columns.keys()):
            logger.warning(
                "%s has no column %r for drop= to leave out: %s", rows.path, name, near_name(name, rows.columns)
            )
        rows = self._with_target(rows)
        inputs = rows.columns.keys() - self._left_out
        return replace(rows, numeric=frozenset(name for name in inputs if self._holds_numbers(rows, name)))

    def _with_target(self, rows: Rows) -> Rows:
        has_target = np.array([cell is not None for cell in rows.column(self._target)])
        if not has_target.any():
            raise DataMissingError(f"{rows.path}: no row has a value of the target {self._target!r}")
        if missing := len(rows) - int(has_target.sum()):
            logger.warning("%s: %d rows without %s are left out", rows.path, missing, self._target)
        return rows.take(np.flatnonzero(has_target))


def _encoded(rows: Rows, schema: str) -> tuple[Any, Any]:
    """Return rows as a model takes them: inputs, float32 of shape ``(n, inputs)``, and targets."""
    agreed = Schema.model_validate_json(schema)
    return agreed.inputs(rows).astype(np.float32), agreed.targets(rows)


def _schema(context: Context) -> Schema:
    """Return what clients agreed on.

    Raises:
        ConfigurationError: If they haven't, or the setting is something else.
    """
    try:
        return Schema.model_validate_json(str(context.run_config[SCHEMA]))
    except ValidationError:
        raise ConfigurationError(
            "workload table has no schema: a run makes it of what its clients tell, and keeps it in prepared.json"
        ) from None


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split("+")] if text else []
