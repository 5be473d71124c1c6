"""The whole flow through Celery's eager mode: one process, no broker, every task called by its name."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from celery import Celery

import worker.handlers
from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    Initialised,
    JobDone,
    ModelEvaluated,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
)
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import Chord
from tasks import arrays
from tasks.broker.app import make_app
from tasks.context import Context
from tasks.errors import FederationError
from tasks.messages import Order, Status, TrainOptions
from tasks.names import order_task
from tasks.orders.train import TrainOrder
from tasks.seeds import context_seed
from tasks.workload import TrainResult
from tests.eager.federation import (
    EXAMPLES,
    Federation,
    StoppedError,
    bits,
    cut_history,
    digests,
    fedavg,
    local_training,
    model_of,
    statuses,
)
from tests.support import Diverging, InPlace, Pull, points
from worker.serving import Serving


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
    # And another with how good its model is
    evaluations = [json.loads(line) for line in (folder.path / "evaluations.jsonl").read_text().splitlines()]
    assert [line["round_number"] for line in evaluations] == [1, 2, 3]
    for number, line in enumerate(evaluations, start=1):
        evaluation = Pull().evaluate(arrays.map_file(folder.checkpoint(number)), points("held out", 8).test, Context())
        assert line["metrics"] == evaluation.values
    responses = lines[0]["responses"]
    told = ("status", "num_examples", "num_steps", "num_epochs", "size_bytes")
    assert {name: tuple(response[key] for key in told) for name, response in responses.items()} == {
        "anna": ("trained", 3, 6, 2.0, model_bytes),
        "bert": ("trained", 5, 10, 2.0, model_bytes),
        "carl": ("trained", 11, 22, 2.0, model_bytes),
    }
    assert all(list(response["metrics"]) == ["train_loss"] for response in responses.values())


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
    jobs = [event for event in federation.events if isinstance(event, JobDone)]
    others = [event for event in federation.events if not isinstance(event, JobDone)]
    told = [RunStarted, ClientsJoined, Initialised, RoundOpened, SlotsFilled, UpdatesJudged, ClientsEvaluated]
    assert [type(event) for event in others] == [*told, RoundClosed, ModelEvaluated]
    joined, opened, filled, judged = (others[index] for index in (1, 3, 4, 5))
    assert joined == ClientsJoined(clients=EXAMPLES)
    assert opened == RoundOpened(round_number=1, cohort=("anna", "bert", "carl"))
    assert isinstance(filled, SlotsFilled)
    assert {client_id: slot.status for client_id, slot in filled.slots.items()} == dict.fromkeys(EXAMPLES, "trained")
    assert judged == UpdatesJudged(round_number=1, accepted=("anna", "bert", "carl"), rejected={}, scores={})
    # And how long the orchestrator's own tasks took
    assert [(job.job, job.round_number) for job in jobs] == [("initialise", 0), ("close_round", 1), ("evaluate", 1)]
    assert all(job.duration_s >= 0 for job in jobs)


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


def test_a_single_client_that_peers_cant_score_is_taken(federation: Federation) -> None:
    # Given a client alone, when peers are to verify, then its update is taken, without a score
    federation.registry.announcements.clear()
    federation.join("anna")
    [record] = federation.run(num_clients=1, rounds=1, verify=("peers",)).history()
    response = record.responses["anna"]
    assert (record.status, response.status, response.scores, response.scored_by) == ("closed", Status.TRAINED, {}, {})


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


def test_an_algorithm_of_ones_own_is_used(federation: Federation) -> None:
    # Given an algorithm that weighs all clients the same
    folder = federation.run(rounds=1, algorithm="tests.support:EQUAL_WEIGHTS")
    # When a round is run, then the model is the plain mean of the three
    config = folder.config()
    model = Pull().initial_parameters(Context(seed=context_seed(config.seed, 0, "initial parameters")))
    updates = [local_training(model, config, 1, client_id)["point"].astype(np.float64) for client_id in EXAMPLES]
    expected = ((updates[0] + updates[1] + updates[2]) / 3).astype(np.float32)
    assert arrays.map_file(folder.checkpoint(1))["point"].tolist() == expected.tolist()


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
                self.forget_all()
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
