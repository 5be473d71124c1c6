"""A run's settings, numbers and files for MLflow: on its server, in a database, or in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from orchestrator.config import RunConfig
from orchestrator.observers import ObserverContext, missing
from orchestrator.observers.events import Event, RunEnded
from orchestrator.observers.tracked import Numbers, changed_settings, moment
from tasks.errors import ConfigurationError

try:
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
except ImportError:
    raise missing("mlflow", "mlflow-skinny") from None

EXPERIMENT = "celeriac"
"""The experiment of runs, unless theirs names another:"""
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
RUN_TAG = "celeriac.run_id"
"""The tag by which a run that is taken up again is found."""
ARTIFACTS = ("config.json", "history.jsonl", "summary.json")
"""Files of the run's folder that go along when it ends. A model is no such file: it may be gigabytes."""
_STATES = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_MOST_CHARACTERS = 500
"""Characters of a parameter that every store of MLflow's takes."""
_MOST_PARAMETERS = 100
"""Parameters that it takes at once."""


class Mlflow:
    """Keeps a run at MLflow; its parameter is the tracking URI, MLflow's own default if it is empty."""

    def __init__(self, context: ObserverContext) -> None:
        self._numbers = Numbers()
        self._client = _client(context.parameter)
        self._folder = context.folder
        self._run_id = self._take_up(context.config) or self._begin(context.config)

    @staticmethod
    def check(parameter: str) -> None:
        """Refuse a tracking URI with which MLflow can't do anything. A server isn't asked yet whether it is there.

        Raises:
            ConfigurationError: If it is one.
        """
        _client(parameter)

    def observe(self, event: Event) -> None:
        """Log what an event says in numbers; when the run ends, its files."""
        round_number, numbers = self._numbers.of(event)
        if numbers:
            at = int(moment(event) * 1000)
            metrics = [Metric(_allowed(name), number, at, round_number) for name, number in numbers.items()]
            self._client.log_batch(self._run_id, metrics=metrics)
        if isinstance(event, RunEnded):
            for name in ARTIFACTS:
                if (self._folder / name).exists():
                    self._client.log_artifact(self._run_id, str(self._folder / name))
            self._client.set_terminated(self._run_id, _STATES[event.summary.status])

    def close(self) -> None:
        """Nothing is kept."""

    def _experiment_id(self) -> str:
        name = os.environ.get(EXPERIMENT_VARIABLE) or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def _take_up(self, config: RunConfig) -> str:
        """Go on with what a former start of the orchestrator has begun; empty if there is nothing."""
        found = self._client.search_runs([self._experiment_id()], f"tags.`{RUN_TAG}` = '{config.run_id}'")
        for run in found:
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        return ""

    def _begin(self, config: RunConfig) -> str:
        run = self._client.create_run(self._experiment_id(), run_name=config.run_id, tags={RUN_TAG: config.run_id})
        params = [Param(_allowed(name), text) for name, text in _texts(changed_settings(config)).items()]
        for first in range(0, len(params), _MOST_PARAMETERS):
            self._client.log_batch(run.info.run_id, params=params[first : first + _MOST_PARAMETERS])
        return str(run.info.run_id)


def _client(tracking_uri: str) -> MlflowClient:
    try:
        return MlflowClient(tracking_uri or None)
    except (MlflowException, ImportError) as error:
        raise ConfigurationError(
            f"observer 'mlflow:{tracking_uri}': mlflow-skinny alone knows servers (http://HOST:5000) and folders; "
            f"pip install mlflow adds databases. MLflow says: {error}"
        ) from None


def _texts(settings: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:_MOST_CHARACTERS] for name, value in settings.items()}


def _allowed(name: str) -> str:
    """Return a name as MLflow takes it: others would have it refuse all that is told with it."""
    return re.sub(r"[^\w\-. :/]|(?<=/)/|^/|/$|\.(?=\.)|(?<=/)\.(?=/|$)", "_", name, flags=re.ASCII)
