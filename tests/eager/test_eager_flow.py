"""The whole flow through Celery's eager mode: one process, no broker, every task called by its name."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from celery import Celery

import tests.support
import worker.handlers
from orchestrator.config import RunConfig
from orchestrator.driver.run import summarise
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    EvaluationSlow,
    Initialised,
    JobDone,
    LeftOut,
    Outcome,
    RoundClosed,
    RoundOpened,
    RunEnded,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
)
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.transport import Chord, EagerTransport
from tasks import arrays
from tasks.arrays import Array
from tasks.broker.app import make_app
from tasks.errors import ConfigurationError, FederationError, RunFailedError, SelectionError, TooFewClientsError
from tasks.messages import Order, Status, TrainOptions
from tasks.names import order_task
from tasks.orders.train import TrainOrder
from tasks.seeds import derive_seed
from tasks.workload import Evaluation, TrainResult
from tests.eager.federation import EXAMPLES, Federation, StoppedError, cut_history, digests, local_training
from tests.support import PULL, Diverging, InPlace, Pull, Raising, announcement, points
from worker.serving import Serving

HIGH_THRESHOLD = {"verify": ("holdout",), "threshold": ("1.5",)}
NO_DICT = r"initial_parameters\(\) returned parameters that are list: a dict of NumPy"


def fedavg(config: RunConfig, cohort: list[str]) -> dict[str, Array]:
    """Federated averaging in a few lines: local training, then sums weighted by examples in float64, rounded once."""
    model = dict(Pull().initial_parameters(derive_seed(config.seed, "initial parameters")))
    num_examples = sum(EXAMPLES[client_id] for client_id in cohort)
    for round_number in range(1, config.rounds + 1):
        updates = {client_id: local_training(model, config, round_number, client_id) for client_id in cohort}
        for name, former in model.items():
            total = np.zeros(former.shape)
            for client_id, update in sorted(updates.items()):
                total = total + EXAMPLES[client_id] * update[name].astype(np.float64)
            mean = total / num_examples
            model[name] = (mean if name == "point" else np.rint(mean)).astype(former.dtype)
    return model


def model_of(folder: RunFolder, round_number: int) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in arrays.map_file(folder.checkpoint(round_number)).items()}


def bits(model: arrays.Arrays) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in model.items()}


def statuses(folder: RunFolder) -> list[dict[str, str]]:
    """Client id -> status, of each round."""
    return [{name: slot.status.value for name, slot in record.responses.items()} for record in folder.history()]


def test_the_app_has_the_tasks_of_both_sides(app: Celery) -> None:
    # Given the modules of both sides, when the app is asked for tasks, then it has all of them by name
    assert {
        *map(order_task, worker.handlers.KINDS), "worker.train", "worker.evaluate", "worker.disconnect",
        "orchestrator.initialise", "orchestrator.ingest", "orchestrator.close_round",
    } <= set(app.tasks)  # fmt: skip


def test_the_final_model_is_federated_averaging_to_the_last_bit(federation: Federation) -> None:
    # Given three clients with 3, 5 and 11 examples
    # When three rounds are run
    folder = federation.run(seed=7)
    # Then the final checkpoint is what NumPy gives in a few lines, and so is the first round's
    assert model_of(folder, 3) == bits(fedavg(folder.config(), ["anna", "bert", "carl"]))
    one_round = folder.config().model_copy(update={"rounds": 1})
    assert model_of(folder, 1) == bits(fedavg(one_round, ["anna", "bert", "carl"]))
    # And each client has done two passes over its data each time: (3 * 6 + 5 * 10 + 11 * 22) / 19 = 310 / 19 = 16.3
    steps = [arrays.map_file(folder.checkpoint(number))["steps"].item() for number in range(4)]
    assert steps == [0, 16, 32, 48]


def test_the_history_says_what_happened_in_every_round(federation: Federation) -> None:
    # Given a run of three rounds
    folder = federation.run()
    model_bytes = folder.checkpoint(0).stat().st_size
    # When its history is read
    lines = [json.loads(line) for line in (folder.path / "history.jsonl").read_text().splitlines()]
    # Then there is a line a round with all that is documented
    assert [line["round_number"] for line in lines] == [1, 2, 3]
    for number, line in enumerate(lines, start=1):
        assert (line["status"], line["reason"]) == ("closed", "")
        assert line["cohort"] == ["anna", "bert", "carl"]
        assert line["checkpoint"] == f"round-{number:04d}.safetensors"
        assert line["digest"] == blake3(folder.checkpoint(number).read_bytes()).hexdigest()
        assert (line["bytes_down"], line["bytes_up"]) == (3 * model_bytes, 3 * model_bytes)
        assert line["duration_s"] >= 0
        evaluation = Pull().evaluate(arrays.map_file(folder.checkpoint(number)), points("held out", 8).test)
        assert line["metrics"] == {"loss": evaluation.loss, "accuracy": evaluation.accuracy}
    responses = lines[0]["responses"]
    told = ("status", "num_examples", "num_steps", "num_epochs", "size_bytes")
    assert {name: tuple(response[key] for key in told) for name, response in responses.items()} == {
        "anna": ("trained", 3, 6, 2.0, model_bytes),
        "bert": ("trained", 5, 10, 2.0, model_bytes),
        "carl": ("trained", 11, 22, 2.0, model_bytes),
    }
    assert all(list(response["metrics"]) == ["train_loss"] for response in responses.values())


def test_clients_evaluate_the_final_model_weighted_by_their_examples(federation: Federation) -> None:
    # Given a run; each client holds out two examples
    folder = federation.run()
    # When the last round's line is read, then it has the mean over the clients, and the others have none
    model = arrays.map_file(folder.checkpoint(3))
    losses = [Pull().evaluate(model, points(client_id, number).test).loss for client_id, number in EXAMPLES.items()]
    records = folder.history()
    assert [record.client_metrics for record in records[:2]] == [{}, {}]
    assert records[2].client_metrics["loss"] == pytest.approx(sum(losses) / 3, rel=1e-12)
    # And with the flag that says so, nobody is asked
    again = federation.another("again").run(evaluate_clients=False)
    assert again.history()[2].client_metrics == {}


def test_nothing_is_left_in_the_store_and_clients_have_the_final_model(federation: Federation) -> None:
    # Given a run
    folder = federation.run()
    # When it is over, then all blobs are gone, and updates and the open round as well
    assert federation.chunks.chunks == {}
    assert not folder.updates(3).exists()
    assert folder.open_round() is None
    # And every client has the final model in its folder
    for client_id in EXAMPLES:
        kept = arrays.map_file(federation.folder / "clients" / client_id / "model.safetensors")
        assert bits(kept) == model_of(folder, 3)


def test_what_happens_is_reported_in_order(federation: Federation) -> None:
    # Given a run of one round
    federation.run(rounds=1)
    # When the events are looked at, then there is a beginning, and each thing in its time; the end is the session's
    kinds = [type(event) for event in federation.events]
    told = [RunStarted, ClientsJoined, Initialised, RoundOpened, SlotsFilled, UpdatesJudged, JobDone, ClientsEvaluated]
    assert kinds == [*told, RoundClosed]
    assert RunEnded not in kinds
    joined, opened, filled, judged = (federation.events[index] for index in (1, 3, 4, 5))
    assert joined == ClientsJoined(clients=EXAMPLES)
    assert opened == RoundOpened(round_number=1, cohort=("anna", "bert", "carl"))
    assert isinstance(filled, SlotsFilled)
    assert {client_id: slot.status for client_id, slot in filled.slots.items()} == dict.fromkeys(EXAMPLES, "trained")
    assert judged == UpdatesJudged(round_number=1, accepted=("anna", "bert", "carl"), rejected={}, scores={})


def test_a_verdict_is_told_with_its_reason_and_score(federation: Federation) -> None:
    # Given a client whose update is no number, and a scorer
    federation.join("bert", Diverging())
    # When a round is run
    folder = federation.run(rounds=1, verify=("norm",))
    # Then what is told of it is what the record says
    [judged] = [event for event in federation.events if isinstance(event, UpdatesJudged)]
    responses = folder.history()[0].responses
    assert judged.accepted == ("anna", "carl")
    assert judged.rejected == {"bert": responses["bert"].reason}
    assert judged.scores == {client_id: responses[client_id].scores for client_id in ("anna", "carl")}
    assert judged.scores["anna"].keys() == {"norm"}


def test_two_runs_with_one_seed_are_equal_and_another_seed_is_not(federation: Federation) -> None:
    # Given runs with seeds 1, 1, and 2, under different names
    one, two, other = (
        federation.another(name).run(run_id=name, seed=seed, fraction=0.5)
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    # When their checkpoints are compared, then the seed alone decides
    assert digests(one) == digests(two)
    assert not set(digests(one)) & set(digests(other))
    assert [record.cohort for record in one.history()] == [record.cohort for record in two.history()]


def test_the_order_in_which_clients_connected_makes_no_difference(federation: Federation) -> None:
    # Given a run, and another in which the clients connected the other way round
    one = federation.another("one").run()
    two = federation.another("two")
    two.registry.announcements.clear()
    for client_id in reversed(EXAMPLES):
        two.join(client_id)
    # When both are done, then they are equal
    assert digests(one) == digests(two.run())


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
    reason = folder.history()[4].responses["bert"].reason
    slots = {"bert": Outcome(status=Status.FAILED, reason=reason)}
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


def test_a_single_client_that_peers_cant_score_is_taken(federation: Federation) -> None:
    # Given a client alone, when peers are to verify, then its update is taken, without a score
    federation.registry.announcements.clear()
    federation.join("anna")
    [record] = federation.run(num_clients=1, rounds=1, verify=("peers",)).history()
    response = record.responses["anna"]
    assert (record.status, response.status, response.scores, response.scored_by) == ("closed", Status.TRAINED, {}, {})


def test_a_run_none_of_whose_rounds_could_be_closed_has_failed(federation: Federation) -> None:
    # Given clients all of which fail
    federation.join_all(Raising())
    # When fewer rounds are run than may fail in a row, then the run fails all the same, for the last round's reason
    folder, told = failing(federation, rounds=2)
    assert told == (
        "none of the run's rounds could be closed, the last because 0 updates were accepted, 1 are needed "
        "(--min-updates)"
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


def test_an_aggregator_of_ones_own_gets_what_nearest_neighbours_have_mixed(federation: Federation) -> None:
    # Given a fourth client that sends a point far off, and an aggregator of one's own that takes the first update
    class Far(Pull):
        def train(self, *arguments: Any, **rest: Any) -> TrainResult:
            result = super().train(*arguments, **rest)
            return replace(result, parameters={**result.parameters, "point": np.full(3, 9, np.float32)})

    federation.join("dora", Far())
    # When two rounds are run in which one of four may be hostile
    aggregator = "tests.support:aggregate_first"
    folder = federation.run(rounds=2, num_clients=4, num_byzantine=1, mix=("nnm",), aggregator=aggregator)
    # Then the model is each time the mean of the three that are near to each other, whatever they weigh
    assert [record.status for record in folder.history()] == ["closed", "closed"]
    for number in (1, 2):
        model = arrays.map_file(folder.checkpoint(number - 1))
        updates = [local_training(model, folder.config(), number, client_id) for client_id in EXAMPLES]
        mean = np.mean([update["point"] for update in updates], axis=0, dtype=np.float64).astype(np.float32)
        assert arrays.map_file(folder.checkpoint(number))["point"].tolist() == mean.tolist()


def test_three_hundred_rounds_are_a_plain_loop(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that needn't be waited for, and one client
    monkeypatch.setattr("os.fsync", lambda _: None)
    federation.registry.announcements.clear()
    federation.join("anna")
    # When 300 rounds are run
    options = TrainOptions(epochs=1, learning_rate=0.1)
    folder = federation.run(num_clients=1, rounds=300, options=options)
    # Then all are closed, with three steps each, and nothing has piled up
    assert len(folder.history()) == 300
    assert arrays.map_file(folder.checkpoint(300))["steps"].item() == 900
    assert federation.chunks.chunks == {}


@pytest.mark.parametrize(
    ("num_kept", "are_new", "changes"),
    [(0, True, {"fraction": 0.5}), (1, True, {"fraction": 0.5}), (4, True, {"fraction": 0.5}), (3, False, {})],
)
def test_a_run_that_goes_on_from_any_round_ends_with_the_same_model(
    federation: Federation, num_kept: int, are_new: bool, changes: dict[str, Any]
) -> None:
    # Given a run of five rounds, of which the later lines are lost
    folder = federation.run(rounds=5, **changes)
    expected, trained = digests(folder), statuses(folder)
    cohorts = [record.cohort for record in folder.history()]
    cut_history(folder, num_kept)
    # When it goes on with clients that were started anew since, or that have been there all the time
    if are_new:
        federation.serving = Serving()
        federation.join_all()
    federation.go_on(folder)
    # Then the clients' updates are taken, and cohorts and checkpoints are the same, to the last bit
    assert statuses(folder) == trained == [dict.fromkeys(cohort, "trained") for cohort in cohorts]
    assert digests(folder) == expected
    assert [record.cohort for record in folder.history()] == cohorts
    assert federation.chunks.chunks == {}


def test_a_round_that_was_interrupted_is_taken_up_with_what_has_come_in(federation: Federation) -> None:
    # Given a run that ended in its second round, when two of three updates were taken in
    expected = federation.another("whole").run(rounds=3)
    interrupted = federation.another("interrupted")

    class Killed(EagerTransport):
        """Ends when the third update of the second round is to be taken in."""

        def send_part(self, chord: Chord, index: int, task: str, kwargs: Any, *, keep_result: bool = False) -> None:
            if (kwargs["round_number"], index) == (2, 2):
                raise StoppedError
            super().send_part(chord, index, task, kwargs, keep_result=keep_result)

    interrupted.transport = Killed
    with pytest.raises(StoppedError):
        interrupted.run(rounds=3)
    folder = RunFolder.open(interrupted.folder / "run")
    opened = folder.open_round()
    assert opened is not None
    assert (opened.round_number, len(folder.history())) == (2, 1)
    # When it goes on, and all know nothing any more of what they answered before, as the third was started anew
    interrupted.transport = EagerTransport
    trained: list[str] = []

    class Telling(Pull):
        def __init__(self, client_id: str) -> None:
            self.client_id = client_id

        def train(self, *arguments: Any, **rest: Any) -> Any:
            trained.append(self.client_id)
            return super().train(*arguments, **rest)

    interrupted.serving = Serving()
    for client_id in EXAMPLES:
        interrupted.join(client_id, Telling(client_id), incarnation="second" if client_id == "carl" else "first")
    interrupted.go_on(folder)
    # Then nobody but the third is asked again in that round, and all is as if nothing had happened
    assert trained == ["carl", "anna", "bert", "carl"]
    assert digests(folder) == digests(expected)
    kept, whole = folder.history()[1].responses["anna"], expected.history()[1].responses["anna"]
    assert kept.model_copy(update={"duration_s": 0.0}) == whole.model_copy(update={"duration_s": 0.0})
    assert interrupted.chunks.chunks == {}


def test_a_run_that_is_given_more_rounds_ends_as_if_it_had_had_them_from_the_start(federation: Federation) -> None:
    # Given a run of five rounds, and another of two that is completed
    expected = digests(federation.another("whole").run(rounds=5))
    again = federation.another("again")
    folder = again.run(rounds=2)
    # When the second is given five rounds, and goes on
    folder.replace_config(folder.config().model_copy(update={"rounds": 5}), folder.lock()).close()
    again.go_on(folder)
    # Then its models are the first's, to the last bit
    assert digests(folder) == expected


def test_a_run_that_starts_from_anothers_model_goes_on_where_that_ended(federation: Federation) -> None:
    # Given a run of one round
    first = federation.run("first", rounds=1)
    # When another starts from its model, of which nothing is left then
    federation.run("second", rounds=1, run_id="second", initial_model=str(first.checkpoint(1)))
    second = RunFolder.open(federation.folder / "second")
    # Then its own folder has that model, byte by byte, and its first round trained it: 16 and 16 more steps
    assert second.checkpoint(0).read_bytes() == first.checkpoint(1).read_bytes()
    assert arrays.map_file(second.checkpoint(1))["steps"].item() == 32


@pytest.mark.parametrize("select", ["random", "where:min-examples=4"])
def test_a_round_waits_for_the_clients_of_its_cohort(federation: Federation, select: str) -> None:
    # Given three clients, of which two have four examples or more, and a clock that goes on as it is looked at
    federation.registry.announcements.pop("carl" if select == "random" else "nobody", None)
    # When a round is to have three, then it waits for the third, and no longer than it may
    with pytest.raises(FederationError, match=r"2 of 3 clients connected within|2 of 3 connected clients fit"):
        federation.run(cohort=3, num_clients=2, select=select, clock=itertools.count().__next__)


@pytest.mark.parametrize(("changes", "expected"), [({}, 0.0), ({"reconnect_after_s": 90}, 90.0)])
def test_clients_are_told_when_to_come_back(federation: Federation, changes: dict[str, Any], expected: float) -> None:
    # Given a run after which clients are to come back, or that says nothing of it
    federation.run(rounds=1, **changes)
    # When it is over, then each of them was told to leave for so many seconds; 0 is for good
    assert federation.connection.left == {"anna": expected, "bert": expected, "carl": expected}


def test_a_run_that_is_complete_does_nothing_more(federation: Federation) -> None:
    # Given a run that is complete
    folder = federation.run(rounds=2)
    federation.events.clear()
    # When it is to go on, then it is told that it began, clients that are there are said farewell to, and that is all
    federation.go_on(folder)
    assert {type(event) for event in federation.events} == {RunStarted, ClientsJoined}
    assert len(folder.history()) == 2


@pytest.mark.parametrize("changes", [{"fraction": 0.5, "select": "random"}, {"cohort": 2}], ids=["fraction", "cohort"])
def test_as_many_clients_as_are_to_be_are_selected_in_every_round(
    federation: Federation, changes: dict[str, Any]
) -> None:
    # Given three clients, when half of them, or two, are to train, then ceil(1.5) = 2 do, not always the same
    folder = federation.run(rounds=8, **changes)
    cohorts = [tuple(record.cohort) for record in folder.history()]
    assert {len(cohort) for cohort in cohorts} == {2}
    assert len(set(cohorts)) > 1
    assert all(list(record.responses) == record.cohort for record in folder.history())
    model_bytes = folder.checkpoint(0).stat().st_size
    assert {record.bytes_down for record in folder.history()} == {2 * model_bytes}


@pytest.mark.parametrize(
    ("select", "cohort"), [("connected", ["anna", "bert"]), ("tests.support:select_last", ["bert", "carl"])]
)
def test_the_selector_decides_who_trains(federation: Federation, select: str, cohort: list[str]) -> None:
    # Given a selector by name, or the user's own, when rounds are run, then its cohort is the one
    folder = federation.run(fraction=0.5, select=select)
    assert [record.cohort for record in folder.history()] == [cohort] * 3
    assert model_of(folder, 3) == bits(fedavg(folder.config(), cohort))


class ListOfArrays(Pull):
    """Has a model without names."""

    def initial_parameters(self, seed: int) -> Any:
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
            SelectionError,
            "selector 'tests.support:select_with_error' failed: ZeroDivisionError",
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


def test_an_algorithm_of_ones_own_is_used(federation: Federation) -> None:
    # Given an algorithm that weighs all clients the same
    folder = federation.run(rounds=1, algorithm="tests.support:EQUAL_WEIGHTS")
    # When a round is run, then the model is the plain mean of the three
    config = folder.config()
    model = Pull().initial_parameters(derive_seed(config.seed, "initial parameters"))
    updates = [local_training(model, config, 1, client_id)["point"].astype(np.float64) for client_id in EXAMPLES]
    expected = ((updates[0] + updates[1] + updates[2]) / 3).astype(np.float32)
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == expected.tolist()


def test_a_run_waits_no_longer_than_it_may_for_enough_clients(federation: Federation) -> None:
    # Given three clients where four are needed, and a clock that goes on a second each time it is looked at
    with pytest.raises(TooFewClientsError) as caught:
        federation.run(num_clients=4, wait_timeout_s=30, clock=itertools.count().__next__)
    # When the run is begun, then it ends, and says how many there were
    assert (caught.value.num_connected, caught.value.num_needed) == (3, 4)


def test_a_workload_without_held_out_data_is_trained_without_metrics(federation: Federation) -> None:
    # Given a workload with nothing for the orchestrator to evaluate on
    name = "tests.support:WithoutHoldout"
    federation.join_all(name=name)
    # When it is run, then the model is trained all the same
    folder = federation.run(workload=name)
    assert [record.metrics for record in folder.history()] == [{}, {}, {}]
    assert model_of(folder, 3) == bits(fedavg(folder.config(), ["anna", "bert", "carl"]))


def test_an_update_that_was_cut_short_counts_with_what_was_done(federation: Federation) -> None:
    # Given hardly any time; the workload does a step before it looks at the clock
    folder = federation.run(rounds=1, timeout_s=1e-3, options=TrainOptions(epochs=100_000))
    # When a round is run, then all updates are taken in, marked as cut short
    record = folder.history()[0]
    assert {slot.status for slot in record.responses.values()} == {Status.TIMED_OUT}
    assert all(1 <= slot.num_steps < 300_000 for slot in record.responses.values())
    assert record.status == "closed"


def test_an_eager_transport_needs_an_eager_app() -> None:
    # Given an app that isn't eager, when a transport is made of it, then it is refused
    with pytest.raises(ValueError, match="task_always_eager"):
        EagerTransport(make_app("other", "memory://", include=()))


def test_an_answer_that_is_stored_again_when_its_round_is_over_is_forgotten(federation: Federation) -> None:
    # Given a client whose worker gets its order of round 1 again, and answers, when round 2 is open
    transports: list[EagerTransport] = []
    sent: list[Order] = []

    class Noting(EagerTransport):
        def __init__(self, app: Celery) -> None:
            super().__init__(app)
            transports.append(self)

        def send(self, orders: Any, *rest: Any) -> None:
            super().send(orders, *rest)
            to_train = [order for order in orders if isinstance(order, TrainOrder)]
            if to_train:
                super().send([order for order in sent if order.round_number < to_train[0].round_number])
                sent.extend(to_train)

    # When the run is over
    federation.transport = Noting
    federation.run(rounds=2)

    # Then neither it nor any other answer to a train order is left
    assert len(sent) == 6
    assert transports[0].collect([order.order_id for order in sent], 0.0) == {}


class EvaluatesBadly(Pull):
    """Evaluates as it is told to: at the orchestrator from the first round on, and at clients that it is made for."""

    def __init__(self, act: Callable[[], Evaluation] | None = None) -> None:
        self.act = act

    def evaluate(self, parameters: arrays.Arrays, data: Any) -> Evaluation:
        # Clients hold out two examples each, the orchestrator the same number; it counts what was trained.
        return self.act() if self.act and parameters["steps"] > 0 else super().evaluate(parameters, data)


def evaluate_with_error() -> Evaluation:
    raise RuntimeError("bad state")


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (
            evaluate_with_error,
            r"^evaluate\(\): RuntimeError: bad state \(test_eager_flow.*; see logs/jobs\.log$",
        ),
        (lambda: Evaluation(float("nan"), float("nan"), 10), "^the loss is nan$"),
        (lambda: Evaluation(0.0, 0.0, 0), "^there are no held-out examples$"),
    ],
)
def test_a_model_that_cant_be_evaluated_is_told_as_that(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Evaluation], problem: str
) -> None:
    # Given a workload that evaluates the initial model, and no other
    monkeypatch.setattr(tests.support, "Badly", EvaluatesBadly(act), raising=False)
    federation.join_all(name="tests.support:Badly")
    # When a run is carried out
    folder = federation.run(workload="tests.support:Badly", rounds=1)
    # Then its round is closed, has no metrics, and says why
    [record] = folder.history()
    assert (record.status, record.metrics) == ("closed", {})
    assert re.search(problem, record.evaluation_problem), record.evaluation_problem
    assert summarise(folder.config(), folder, "completed", "", 1.0).evaluation_problem == record.evaluation_problem


def test_the_model_is_evaluated_every_so_many_rounds_and_after_the_last(federation: Federation) -> None:
    # Given runs of five rounds, one of which evaluates every second
    every, second = (
        federation.another("every").run(rounds=5),
        federation.another("second").run(rounds=5, evaluate_every=2),
    )
    # When their records are looked at, then it has metrics after rounds 2, 4 and 5, the same, as the models are
    metrics = [record.metrics for record in second.history()]
    assert [bool(each) for each in metrics] == [False, True, False, True, True]
    assert [record.evaluation_due for record in second.history()] == [False, True, False, True, True]
    assert [each for each in metrics if each] == [every.history()[index].metrics for index in (1, 3, 4)]
    assert digests(every) == digests(second)


def test_an_evaluation_that_takes_most_of_its_round_is_told_once(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an orchestrator by whose clock, and by whose evaluations', every look takes a second
    monkeypatch.setattr("orchestrator.jobs.evaluation.time.perf_counter", map(float, itertools.count()).__next__)
    # When three rounds are run
    folder = federation.run()
    # Then it is told of the first that a second went into it, and not of the others
    assert [record.evaluation_s for record in folder.history()] == [1.0] * 3
    told = [event for event in federation.events if isinstance(event, EvaluationSlow)]
    assert [(event.round_number, event.evaluation_s) for event in told] == [(1, 1.0)]


def test_clients_that_cant_evaluate_are_counted_and_named(federation: Federation) -> None:
    # Given three clients, one of which can't evaluate, and one of which has a loss that is no number
    federation.join("bert", EvaluatesBadly(evaluate_with_error))
    federation.join("carl", EvaluatesBadly(lambda: Evaluation(float("nan"), 0.5, 2)))
    # When a run is carried out
    folder = federation.run(rounds=1)
    # Then the metrics are the one's that could, and the record and the log say who couldn't
    [record] = folder.history()
    model = arrays.map_file(folder.checkpoint(1))
    expected = Pull().evaluate(model, points("anna", EXAMPLES["anna"]).test)
    assert record.client_metrics == {"loss": pytest.approx(expected.loss), "accuracy": pytest.approx(expected.accuracy)}
    assert (record.num_evaluated, sorted(record.not_evaluated)) == (1, ["bert", "carl"])
    assert "RuntimeError: bad state" in record.not_evaluated["bert"]
    assert record.not_evaluated["carl"] == "the loss is nan"
    summary = summarise(folder.config(), folder, "completed", "", 1.0)
    assert (summary.num_evaluated, summary.num_not_evaluated) == (1, 2)


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_a_workload_that_trains_in_place_changes_nobody_elses_model(federation: Federation, compression: str) -> None:
    # Given clients of one process that add 1 to the memory they are given, and write to it when they evaluate
    name = "tests.support:InPlace"
    federation.join_all(InPlace(), name)
    # When three rounds are carried out
    folder = federation.run(workload=name, compression=compression, verify=("holdout", "peers"))
    # Then each client began with the round's model: it is 1 after the first, 2 after the second
    history = folder.history()
    for number in (1, 2, 3):
        np.testing.assert_allclose(arrays.map_file(folder.checkpoint(number))["w"], number, rtol=1e-2)
        assert history[number - 1].metrics["loss"] == pytest.approx(number, rel=1e-2)
    assert history[-1].client_metrics["loss"] == pytest.approx(3, rel=1e-2)


def test_updates_that_a_broker_lost_after_all_had_answered_are_asked_for_again(federation: Federation) -> None:
    # Given an undisturbed run
    undisturbed = federation.run("undisturbed", rounds=2)
    forgotten: list[bool] = []

    class Emptied(EagerTransport):
        """Loses all that there is, once, when an update is to be taken in."""

        def send_part(self, chord: Chord, index: int, task: str, kwargs: Any, *, keep_result: bool = False) -> None:
            if not forgotten:
                forgotten.append(True)
                federation.chunks.chunks.clear()
                for kept in (self._results, self._open):
                    kept.clear()
            else:  # a part of a chord that is forgotten does its work all the same
                super().send_part(chord, index, task, kwargs)

    def forgot() -> bool:
        if forgotten != [True]:
            return False
        forgotten.append(False)
        return True

    # When the broker is emptied when all have answered, and no update is taken in
    federation.transport, federation.forgot = Emptied, forgot
    folder = federation.run("emptied", rounds=2)

    # Then the clients are asked again, nobody is rejected, and the models are the same
    assert forgotten == [True, False]
    for record, other in zip(folder.history(), undisturbed.history(), strict=True):
        assert {response.status for response in record.responses.values()} == {Status.TRAINED}
        assert record.digest == other.digest


def test_a_round_whose_updates_are_too_many_at_a_time_ends_with_the_same_model(federation: Federation) -> None:
    # Given a run, and another of which no more than two updates may be on their way
    plenty = federation.run()
    crowded = federation.another("crowded").run(in_flight_mb=1e-6)
    # When both are done, then the models are equal
    assert digests(crowded) == digests(plenty)
