"""A workload without a model: a table of the client's, for statistics alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.workload import ClientData, DataSource, TrainResult, Workload


class Table(Workload):
    """Tells statistics of what :meth:`read` returns. There is nothing to train."""

    splits_data: ClassVar[bool] = False

    @abstractmethod
    def read(self, source: DataSource) -> Any:
        """Return the client's columns by name, a dict of arrays or a pandas ``DataFrame``; see :meth:`columns`."""

    def client_data(self, source: DataSource) -> ClientData:
        """Return the table as what there is to train on."""
        table = self.read(source)
        return ClientData(
            train=table, test=None, num_train=max((len(values) for _, values in table.items()), default=0)
        )

    def columns(self, data: ClientData) -> Mapping[str, Any]:
        """Return the table's columns."""
        return dict(data.train.items())

    def initial_parameters(self, context: Context) -> Arrays:
        """Refuse: there is no model."""
        self._refuse()

    def holdout_data(self, folder: Path | None) -> Any:
        """Refuse: there is no model."""
        self._refuse()

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        """Refuse: there is no model."""
        self._refuse()

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        """Refuse: there is no model."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigurationError(
            f"workload {type(self).__name__} is a table without a model: it is for python -m orchestrator.statistics"
        )
