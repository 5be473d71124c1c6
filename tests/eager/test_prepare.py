"""Settings that a workload makes of clients' statistics before there is a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from orchestrator.store.facts import PREPARED, STATISTICS
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import ConfigurationError, FederationError
from tasks.evaluation import Evaluation
from tasks.pooling import NumbersSummary
from tasks.run_config import RunSetting
from tasks.statistics import Statistics
from tasks.workload import ClientData
from tests.eager.federation import EXAMPLES, Federation, StoppedError, stop_after
from tests.support import Pull

CENTRED = f"{__name__}:Centred"
CHOOSY = f"{__name__}:Choosy"
ODD = f"{__name__}:Odd"
HEIGHTS = {client_id: np.arange(20.0) + 10 * index for index, client_id in enumerate(EXAMPLES)}
MEAN = float(np.mean(list(HEIGHTS.values())))


class Centred(Pull):
    """Has columns, and a setting that is their mean over all clients, which is its loss."""

    run_config = {"mean": 0.0}  # noqa: RUF012  # as a user would write it

    def columns(self, data: ClientData) -> Mapping[str, Any]:
        client_id = next(name for name, number in EXAMPLES.items() if number == data.num_train)
        return {"height": HEIGHTS[client_id]}

    def prepare(self, statistics: Statistics, context: Context) -> Mapping[str, RunSetting]:
        height = statistics.columns["height"].over_all
        assert isinstance(height, NumbersSummary)
        return {"mean": height.mean}

    def initial_parameters(self, context: Context) -> Arrays:
        assert context.run_config["mean"] != 0
        return super().initial_parameters(context)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float(str(context.run_config["mean"])), 1)


class Silent(Centred):
    """Tells nothing."""

    def columns(self, data: ClientData) -> Mapping[str, Any]:
        raise ConfigurationError("nobody is to know")


class Choosy(Centred):
    """Can't go on with such data."""

    def prepare(self, statistics: Statistics, context: Context) -> Mapping[str, RunSetting]:
        raise ConfigurationError("heights of more than 10 are needed")


class Odd(Centred):
    """Makes something else of statistics than settings by name."""

    def prepare(self, statistics: Statistics, context: Context) -> Any:
        return {"mean": object()}


def test_what_a_workload_makes_of_statistics_is_found_by_clients_and_orchestrator(
    federation: Federation,
) -> None:
    # Given
    federation.join_all(Centred(), CENTRED)

    # When
    folder = federation.run(workload=CENTRED)

    # Then
    assert PREPARED.of(folder) == {"mean": pytest.approx(MEAN)}
    told = [response.metrics["train_loss"] for record in folder.history() for response in record.responses.values()]
    assert told == [PREPARED.of(folder)["mean"]] * 9
    assert folder.initial().metrics["loss"] == PREPARED.of(folder)["mean"]
    asked = STATISTICS.of(folder)
    assert asked is not None
    assert sorted(asked.columns["height"].clients) == sorted(EXAMPLES)


def test_a_setting_that_is_given_comes_before_the_one_that_was_made(federation: Federation) -> None:
    federation.join_all(Centred(), CENTRED)
    folder = federation.run(workload=CENTRED, run_config={"mean": 5.0})
    assert folder.history()[-1].train_metrics["train_loss"] == 5.0


def test_a_run_that_is_taken_up_again_keeps_its_settings_whatever_clients_have_now(federation: Federation) -> None:
    # Given: a run that was stopped, and data that has changed since
    federation.join_all(Centred(), CENTRED)
    federation.on_event = stop_after(1)
    with pytest.raises(StoppedError):
        federation.run(workload=CENTRED)
    folder = federation.folder / "run"
    before = (folder / "prepared.json").read_bytes(), (folder / "statistics.json").read_bytes()
    HEIGHTS["anna"] += 100

    # When
    federation.on_event = lambda _: None
    federation.join_all(Centred(), CENTRED, incarnation="second")
    try:
        taken_up = federation.go_on(RunFolder.open(folder))
    finally:
        HEIGHTS["anna"] -= 100

    # Then
    assert ((folder / "prepared.json").read_bytes(), (folder / "statistics.json").read_bytes()) == before
    assert taken_up.history()[-1].train_metrics["train_loss"] == PREPARED.of(taken_up)["mean"]


def test_a_run_that_was_killed_before_it_had_a_model_doesnt_ask_again(federation: Federation) -> None:
    # Given a run that knew what clients told, and no more
    federation.join_all(Centred(), CENTRED)
    former = federation.run("former", workload=CENTRED)
    config = former.config().model_copy(update={"run_id": "killed"})
    killed = RunFolder.create(federation.folder / "killed", config)
    statistics = STATISTICS.of(former)
    assert statistics is not None
    STATISTICS.note(killed, statistics)
    # When it goes on with clients that tell nothing, then it goes by what it knows
    federation.join_all(Silent(), CENTRED, incarnation="second")
    assert PREPARED.of(federation.go_on(killed)) == PREPARED.of(former)
    assert len(killed.history()) == 3


@pytest.mark.parametrize(
    ("workload", "name", "told"),
    [(Choosy(), CHOOSY, "heights of more than 10 are needed"), (Odd(), ODD, "a dict of settings by name is needed")],
)
def test_what_a_workload_cant_prepare_is_refused_before_the_first_round(
    federation: Federation, workload: Pull, name: str, told: str
) -> None:
    federation.join_all(workload, name)
    with pytest.raises(FederationError, match=told):
        federation.run(workload=name)


def test_clients_without_columns_are_named_where_the_workload_goes_by_statistics(federation: Federation) -> None:
    federation.join_all(Pull(), CENTRED)
    with pytest.raises(FederationError, match=r"no client told anything of its data: .*has no columns\(\)"):
        federation.run(workload=CENTRED)
