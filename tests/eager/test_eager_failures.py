"""Clients, rounds and runs that fail, through Celery's eager mode: who is left out, and what ends a run."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from orchestrator.observers.events import LeftOut, Outcome, RoundClosed
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.context import Context
from tasks.errors import ConfigurationError, FederationError, RunFailedError, SelectionError, TooFewClientsError
from tasks.user_code import UserCodeError
from tests.eager.federation import EXAMPLES, Federation, bits, digests, fedavg, local_training, model_of, statuses
from tests.support import PULL, Diverging, Pull, Raising, announcement

HIGH_THRESHOLD = {"verify": ("holdout",), "threshold": ("1.5",)}
NO_DICT = r"initial_parameters\(\) returned parameters that are list: a dict of NumPy"


@pytest.mark.parametrize(
    ("workload", "status", "reason"),
    [
        (Raising(), "failed", r"train\(\): RuntimeError: the disk is full \(support\.py, line "),
        (Diverging(), "rejected", r"array 'point' has values that are NaN or infinite$"),
    ],
)
def test_a_client_that_fails_or_diverges_is_left_out_with_the_reason_and_the_rest_is_aggregated(
    federation: Federation, workload: Pull, status: str, reason: str
) -> None:
    # Given a client whose training fails, or whose update is NaN
    federation.join("bert", workload)
    # When three rounds are run
    folder = federation.run()
    # Then it is left out of every round, with the reason, and the model is the other two's
    assert statuses(folder) == [{"anna": "trained", "bert": status, "carl": "trained"}] * 3
    for record in folder.history():
        assert re.match(reason, record.responses["bert"].reason)
        assert status == "rejected" or record.responses["bert"].num_examples == record.responses["bert"].size_bytes == 0
    assert model_of(folder, 3) == bits(fedavg(folder.config(), ["anna", "carl"]))
    assert federation.chunks.chunks == {}


def test_a_client_whose_work_never_comes_into_the_model_is_named_once(federation: Federation) -> None:
    # Given a client whose training fails
    federation.join("bert", Raising())
    # When seven rounds are run
    folder = federation.run(rounds=7)
    # Then it is told once, after the fifth, with the cause
    [(index, told)] = [(i, event) for i, event in enumerate(federation.events) if isinstance(event, LeftOut)]
    slots = {"bert": Outcome.of(folder.history()[4].responses["bert"])}
    assert told == LeftOut(round_number=5, num_rounds=5, slots=slots)
    assert sum(isinstance(event, RoundClosed) for event in federation.events[:index]) == 5


def test_a_client_with_another_workload_is_failed_with_what_to_do(federation: Federation) -> None:
    # Given a client that has something else to train than it says
    federation.join("carl", name="mnist", announced=PULL)
    # When a round is run, then it is failed, and the reason says how to mend it
    folder = federation.run(rounds=1)
    assert folder.history()[0].responses["carl"].reason.endswith("client carl has 'mnist': set CLIENT_WORKLOAD")
    assert statuses(folder) == [{"anna": "trained", "bert": "trained", "carl": "failed"}]


def test_a_client_that_says_it_has_another_workload_is_passed_over(federation: Federation) -> None:
    # Given a client that has something else to train, and says so
    federation.join("dora", name="mnist")
    # When a round is run, then it isn't asked
    folder = federation.run(rounds=1)
    assert folder.history()[0].cohort == ["anna", "bert", "carl"]


def test_an_order_to_a_client_that_no_worker_serves_is_failed(federation: Federation) -> None:
    # Given an announcement without a client behind it
    federation.registry.announce(announcement("ghost"))
    # When a round is run, then the order fails, and nothing else
    folder = federation.run(rounds=1)
    assert statuses(folder)[0]["ghost"] == "failed"
    assert model_of(folder, 1) == bits(fedavg(folder.config(), ["anna", "bert", "carl"]))


def failing(federation: Federation, **changes: Any) -> tuple[RunFolder, str]:
    """Carry out a run that must fail; return its folder and the reason."""
    with pytest.raises(RunFailedError) as caught:
        federation.run(**changes)
    return RunFolder.open(federation.folder / "run"), str(caught.value)


@pytest.mark.parametrize(
    ("workload", "changes", "status", "reason"),
    [
        (Raising(), {}, "failed", r"train\(\): RuntimeError: the disk is full \(support\.py, line \d+, in train\)"),
        (Pull(), HIGH_THRESHOLD, "rejected", r"holdout: [\d.]+ is not within the threshold 1\.5"),
    ],
    ids=["all fail", "all are rejected"],
)
def test_three_failed_rounds_in_a_row_end_the_run_and_the_model_stays_as_it_was(
    federation: Federation, workload: Pull, changes: dict[str, Any], status: str, reason: str
) -> None:
    # Given clients all of which fail, or a threshold that no update reaches
    federation.join_all(workload)
    # When ten rounds are to be run
    folder, told = failing(federation, rounds=10, **changes)
    # Then three are, with the reason
    see_log = r"; see logs/(anna|clients)\.log" if status == "failed" else ""
    assert re.fullmatch(
        r"3 rounds in a row failed, the last because 0 updates were accepted, 1 are needed \(--min-updates\): "
        rf"3 of 3 clients, like anna: {reason}{see_log}",
        told,
    )
    assert [record.status for record in folder.history()] == ["failed", "failed", "failed"]
    assert statuses(folder) == [dict.fromkeys(EXAMPLES, status)] * 3
    assert all(re.match(reason, response.reason) for response in folder.history()[0].responses.values())
    # And the model is the initial one still
    assert set(digests(folder)) == {blake3(folder.checkpoint(0).read_bytes()).hexdigest()}
    assert {str(model_of(folder, number)) for number in range(4)} == {str(model_of(folder, 0))}
    assert federation.chunks.chunks == {}


def test_a_run_none_of_whose_rounds_could_be_closed_has_failed(federation: Federation) -> None:
    # Given clients all of which fail
    federation.join_all(Raising())
    # When fewer rounds are run than may fail in a row, then the run fails all the same, for the last round's reason
    folder, told = failing(federation, rounds=2)
    assert told.startswith(
        "none of the run's rounds could be closed, the last because 0 updates were accepted, 1 are needed "
        "(--min-updates): 3 of 3 clients, like anna: train(): RuntimeError: the disk is full (support.py"
    )
    assert len(folder.history()) == 2


def test_a_run_that_failed_goes_on_when_the_clients_are_mended(federation: Federation) -> None:
    # Given a run that ended after two failed rounds
    federation.join("bert", Raising())
    federation.join("carl", Raising())
    folder, told = failing(federation, rounds=4, min_updates=2, max_failed_rounds=2)
    assert told.startswith("2 rounds in a row failed")
    # When one of the clients is mended, and the run goes on
    federation.join("bert")
    federation.go_on(folder)
    # Then the remaining rounds are closed
    assert [record.status for record in folder.history()] == ["failed", "failed", "closed", "closed"]
    assert statuses(folder)[3] == {"anna": "trained", "bert": "trained", "carl": "failed"}


class FailingAt(Pull):
    """Fails at the orders to train with these numbers, from 1."""

    def __init__(self, *numbers: int) -> None:
        self.numbers, self.calls = numbers, itertools.count(1)

    def train(self, *arguments: Any, **rest: Any) -> Any:
        if next(self.calls) in self.numbers:
            raise RuntimeError("no luck")
        return super().train(*arguments, **rest)


def test_failed_rounds_that_are_not_in_a_row_dont_end_a_run(federation: Federation) -> None:
    # Given a client that fails at every second order, alone
    federation.registry.announcements.clear()
    federation.join("anna", FailingAt(1, 3, 5, 7))
    # When seven rounds are run with two allowed to fail in a row, then all are
    folder = federation.run(num_clients=1, rounds=7, max_failed_rounds=2)
    expected = ["failed", "closed", "failed", "closed", "failed", "closed", "failed"]
    assert [record.status for record in folder.history()] == expected


def test_a_round_with_too_few_updates_for_the_aggregator_fails_and_the_run_goes_on(federation: Federation) -> None:
    # Given a median that is to stand one hostile update, which needs three, and a client that fails in the first round
    federation.join("carl", FailingAt(1))
    # When two rounds are run
    folder = federation.run(rounds=2, aggregator="median", num_byzantine=1)
    # Then the first failed, and kept the model; the second has the median of three
    failed, closed = folder.history()
    assert (failed.status, closed.status) == ("failed", "closed")
    assert failed.reason == "median has 2 updates of which 1 may be hostile (--num-byzantine): at least 3 are needed"
    assert model_of(folder, 1) == model_of(folder, 0)
    model, config = arrays.map_file(folder.checkpoint(1)), folder.config()
    updates = [local_training(model, config, 2, client_id)["point"] for client_id in EXAMPLES]
    assert arrays.map_file(folder.checkpoint(2))["point"].tolist() == np.median(updates, axis=0).tolist()


class ListOfArrays(Pull):
    """Has a model without names."""

    def initial_parameters(self, context: Context) -> Any:
        return [np.zeros(3, np.float32)]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"workload": "nowhere:Model"}, ConfigurationError, "there is no module 'nowhere'"),
        ({"workload": f"{__name__}:ListOfArrays"}, RunFailedError, NO_DICT),
        ({"evaluate_share": 0.5}, ConfigurationError, "returned ndarray .* allowed is 1, or --evaluate-every"),
        ({"mix": ("tests.support:mix_nothing",)}, RunFailedError, "a mixer returned dict, not a matrix of numbers"),
        (
            {"select": "tests.support:select_stranger"},
            SelectionError,
            r"round 1: the selector returned unknown \['stranger'\]",
        ),
        (
            {"select": "tests.support:select_with_error"},
            UserCodeError,
            "selector 'tests.support:select_with_error': ZeroDivisionError",
        ),
    ],
)
def test_what_the_user_named_or_wrote_wrongly_ends_the_run_and_is_told(
    federation: Federation, changes: dict[str, Any], error: type[FederationError], message: str
) -> None:
    # Given something of the user's that isn't there, that fails, or that returns something else than it should
    # When a run is carried out, then that ends it, and the message says what is wrong
    with pytest.raises(error, match=message):
        federation.run(**changes)


def test_a_run_waits_no_longer_than_it_may_for_enough_clients(federation: Federation) -> None:
    # Given three clients where four are needed, and a clock that goes on a second each time it is looked at
    with pytest.raises(TooFewClientsError) as caught:
        federation.run(num_clients=4, wait_timeout_s=30, clock=itertools.count().__next__)
    # When the run is begun, then it ends, and says how many there were
    assert (caught.value.num_connected, caught.value.num_needed) == (3, 4)
