from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm, LocalResult, LocalTask
from tasks import arrays
from tasks.arrays import Arrays
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Order, Response, Status, TrainOptions
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.workload import ClientData, Evaluation, TrainResult
from tests.support import PULL, Diverging, Pull, added_in_place, evaluate_order, survey_order, train_order
from worker.client import Client
from worker.connection import Connection
from worker.handlers import disconnect, evaluate, set_parameters, survey, train, verify
from worker.models import Models
from worker.serving import Serving
from worker.settings import Allowed
from worker.update_orders import TOO_LATE

ASKING_FIRST = "tests.support:ASKING_FIRST"
MODEL = {"point": np.array([1, 2, 3], np.float32), "steps": np.array(10)}
TRAIN = np.array([[3, 2, 1], [5, 2, 1]], np.float32)
TEST = np.array([[1, 2, 6], [1, 2, 3], [4, 2, 3]], np.float32)


class Noting(Connection):
    """A connection that notes how many seconds the client was told to stay away for, and knows what is answered."""

    def __init__(self) -> None:
        self.left: list[float] = []
        self.answered: set[str] = set()

    def leave(self, client_id: str, incarnation: str, seconds: float) -> None:
        assert (client_id, incarnation) == ("anna", "second")
        self.left.append(seconds)

    def is_answered(self, order_id: str) -> bool:
        return order_id in self.answered


@pytest.fixture
def connection() -> Noting:
    return Noting()


@pytest.fixture
def client(chunks: MemoryChunks, tmp_path: Path, connection: Noting) -> Client:
    data = ClientData(train=TRAIN, test=TEST, num_train=2)
    return Client("anna", PULL, Pull(), data, chunks, tmp_path, "second", connection)


@pytest.fixture
def serving(client: Client) -> Serving:
    """A process that serves the client."""
    made = Serving()
    made.add(client)
    return made


class Acting(Pull):
    """Does at training what it is made with, and evaluates as it is told to."""

    def __init__(
        self, act: Callable[[Arrays], Any] = lambda p: TrainResult(p, 2, 1, 1.0), evaluation: Any = None
    ) -> None:
        self.act, self.evaluation = act, evaluation

    def train(self, parameters: Arrays, *_: Any, **__: Any) -> Any:
        return self.act(parameters)

    def evaluate(self, parameters: Arrays, data: Any) -> Any:
        return self.evaluation


def acting(client: Client, act: Callable[[Arrays], Any]) -> Client:
    """A client whose workload does this where it is to train."""
    return replace(client, workload=Acting(act))


def evaluating(client: Client, evaluation: Any) -> Client:
    """A client whose workload returns this where it is to evaluate."""
    return replace(client, workload=Acting(evaluation=evaluation))


def to_evaluate(chunks: MemoryChunks) -> EvaluateOrder:
    return evaluate_order(parameters=published(chunks))


def published(chunks: MemoryChunks, parameters: Arrays = MODEL) -> BlobRef:
    return blob.publish(chunks, "fl:blob:run/0", arrays.encode(parameters))


def to_train(chunks: MemoryChunks, **changes: Any) -> TrainOrder:
    options = TrainOptions(epochs=1, learning_rate=0.5)
    return train_order(**{"parameters": published(chunks), "options": options, **changes})


def reason(act: Any) -> str:
    """Carry out what must fail, as the tasks do, for the first time; return the reason that is given."""
    response = Serving().carry_out(act, "anna/run/1/train", "anna")
    assert (response.order_id, response.client_id) == ("anna/run/1/train", "anna")
    assert (response.status, response.update) == (Status.FAILED, None)
    return response.reason


def test_training_puts_an_update_into_the_store_and_says_what_was_done(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to pull (1, 2, 3) towards (3, 2, 1) and (5, 2, 1) with rate 1/2, in whatever order
    order = to_train(chunks)
    # When it is carried out
    response = train.handle(client, order)
    # Then it is at (3.5, 2, 1.5) or, the other way round, at (3, 2, 1.5), after two steps
    assert (response.order_id, response.client_id, response.status) == (order.order_id, "anna", Status.TRAINED)
    assert (response.num_examples, response.num_steps, response.num_epochs) == (2, 2, 1.0)
    assert response.update is not None
    assert response.update.name == "fl:blob:anna/run/1"
    update = arrays.decode(chunks.get(response.update))
    assert update["point"].tolist() in ([3.5, 2.0, 1.5], [3.0, 2.0, 1.5])
    assert update["steps"].item() == 12
    # And the loss is the mean distance to the examples: at (3.5, 2, 1.5), (0.5 + 0.5)/3 and (1.5 + 0.5)/3
    expected = 0.5 if update["point"][0] == 3.5 else (0.5 / 3 + 2.5 / 3) / 2
    assert response.metrics == {"train_loss": pytest.approx(expected)}


def to_survey(chunks: MemoryChunks, **changes: Any) -> SurveyOrder:
    return survey_order(**{"parameters": published(chunks), "algorithm": ASKING_FIRST, **changes})


def test_what_an_algorithm_asks_first_is_put_into_the_store(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to say what the loss is at (1, 2, 3), for examples (3, 2, 1) and (5, 2, 1)
    order = to_survey(chunks)
    # When it is carried out
    response = survey.handle(replace(client, allowed=Allowed(ASKING_FIRST)), order)
    # Then it is (4/3 + 6/3) / 2 = 5/3, of two examples, and no step was done
    assert (response.status, response.num_examples, response.num_steps) == (Status.SURVEYED, 2, 0)
    assert response.update is not None
    assert response.update.name == "fl:blob:anna/run/1/survey"
    sent = arrays.decode(chunks.get(response.update))
    assert {name: values.tolist() for name, values in sent.items()} == {"@loss/point": [float(np.float32(5 / 3))] * 3}


def test_what_came_of_the_first_exchange_comes_with_the_order_to_train(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to train, and the mean loss of all clients
    mean = {"@loss/point": np.full(3, 7.5, np.float32)}
    surveyed = blob.publish(chunks, "fl:blob:run/1/surveyed", arrays.encode(mean))
    order = to_train(chunks, algorithm=ASKING_FIRST, surveyed=surveyed)
    # When it is carried out, then the algorithm has it
    assert train.handle(replace(client, allowed=Allowed(ASKING_FIRST)), order).metrics["told"] == 7.5


def test_the_model_is_fetched_once_for_both_exchanges(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that has sent what it was asked for first
    client = replace(client, allowed=Allowed(ASKING_FIRST))
    surveyed = survey.handle(client, to_survey(chunks)).update
    # When it is to train, and the model isn't in the store any more
    order = to_train(chunks, algorithm=ASKING_FIRST, surveyed=surveyed)
    chunks.discard([order.parameters.name], order.parameters.size_bytes)
    # Then it still has it
    assert train.handle(client, order).status is Status.TRAINED


def test_an_algorithm_that_asks_nothing_first_is_not_asked(client: Client, chunks: MemoryChunks) -> None:
    # Given an order that asks what the algorithm doesn't know, or whose time is over, when it is carried out, then the
    # reason is told
    assert reason(lambda: survey.handle(client, to_survey(chunks, algorithm="fedavg"))) == (
        "ConfigurationError: algorithm 'fedavg' has no exchange before training"
    )
    assert survey.handle(client, to_survey(chunks, deadline=1.0)).reason == TOO_LATE


def test_one_seed_gives_one_update_and_others_give_others(client: Client, chunks: MemoryChunks) -> None:
    # Given orders with equal and other seeds
    digests = []
    for seed in (1, 1, 2, 3, 4, 5, 6):
        # When they are carried out
        response = train.handle(client, to_train(chunks, seed=seed))
        assert response.update is not None
        digests.append(response.update.digest)
    # Then equal seeds give equal updates, and the others give both of the two that there are
    assert digests[0] == digests[1]
    assert len(set(digests)) == 2


def test_the_orders_parameters_stay_as_they_are(client: Client, chunks: MemoryChunks) -> None:
    # Given a model in the store, when it is trained from, then it is there still, for the others
    order = to_train(chunks)
    train.handle(client, order)
    assert arrays.decode(chunks.get(order.parameters))["point"].tolist() == [1.0, 2.0, 3.0]


def test_a_client_that_had_no_time_for_a_step_fails(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that looks at the clock before its first step, and hardly any time
    class Asking(Pull):
        def train(self, parameters: Arrays, data: Any, options: TrainOptions, **rest: Any) -> TrainResult:
            assert rest["budget"].is_over()
            return TrainResult(parameters, 2, 0, 0.0)

    client = replace(client, workload=Asking())
    order = to_train(chunks, timeout_s=1e-9)
    # When it is to train
    response = train.handle(client, order)
    # Then there is no update
    assert (response.status, response.update) == (Status.FAILED, None)
    assert response.reason == "no step was done in the time that was given"
    assert len(chunks.chunks) == 1


def test_a_client_whose_time_ran_out_returns_what_it_has(client: Client, chunks: MemoryChunks) -> None:
    # Given an order of 5 epochs with time for hardly anything; the workload does a step before it asks
    order = to_train(chunks, timeout_s=1e-9, options=TrainOptions(epochs=5, learning_rate=0.5))
    # When it is carried out
    response = train.handle(client, order)
    # Then the update holds the one step of ten
    assert response.status is Status.TIMED_OUT
    assert (response.num_steps, response.num_epochs) == (1, 0.5)
    assert response.update is not None
    assert arrays.decode(chunks.get(response.update))["steps"].item() == 11


def test_evaluating_uses_what_the_client_holds_out(client: Client, chunks: MemoryChunks) -> None:
    # Given held-out points at distances 3/3, 0 and 3/3 from the model's, of which one is nearer than 1
    response = evaluate.handle(client, to_evaluate(chunks))
    # When it is evaluated, then loss and accuracy are 2/3 and 1/3 on three examples
    assert response.status is Status.EVALUATED
    assert response.num_examples == 3
    assert response.metrics == {"loss": pytest.approx(2 / 3), "accuracy": pytest.approx(1 / 3)}
    assert response.update is None


def test_set_parameters_are_kept_in_the_clients_folder(
    client: Client, chunks: MemoryChunks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an order to keep a model
    common = evaluate_order(parameters=published(chunks)).model_dump()
    with caplog.at_level(logging.INFO, "worker.handlers.set_parameters"):
        response = set_parameters.handle(client, SetParametersOrder.model_validate(common))
    # When it is carried out, then the model is a file there
    assert response.status is Status.DONE
    assert arrays.map_file(tmp_path / "model.safetensors")["point"].tolist() == [1.0, 2.0, 3.0]
    # And its log says where it is
    assert [record.getMessage() for record in caplog.records] == [
        f"client anna: the model after round 1 is in {tmp_path / 'model.safetensors'}"
    ]


def to_disconnect(**changes: Any) -> DisconnectOrder:
    common = train_order().model_dump(exclude=set(TrainOrder.model_fields) - set(Order.model_fields))
    return DisconnectOrder.model_validate({**common, "incarnation": "second", "message": "bye", **changes})


@pytest.mark.parametrize(("seconds", "away"), [(0.0, [0.0]), (2.5, [2.5])])
def test_a_client_stays_away_for_as_long_as_it_is_told_to(
    client: Client, connection: Noting, seconds: float, away: list[float]
) -> None:
    # Given an order to leave, for good or for a while
    order = to_disconnect(reconnect_after_s=seconds)
    # When it is carried out, then the client says so, and leaves for that long
    assert disconnect.handle(client, order).status is Status.DONE
    assert connection.left == away


def test_an_order_to_leave_for_a_former_start_is_none_for_this_one(client: Client, connection: Noting) -> None:
    # Given an order to leave that was meant for the client before it was started anew
    order = to_disconnect(incarnation="first", reconnect_after_s=2.5)
    # When it is carried out, then the client stays
    response = disconnect.handle(client, order)
    assert (response.status, response.reason) == (Status.DONE, "the order is for a former start of this client")
    assert connection.left == []


@pytest.mark.parametrize("method", [train.handle, evaluate.handle, set_parameters.handle])
def test_an_order_of_another_workload_is_a_failed_answer(client: Client, chunks: MemoryChunks, method: Any) -> None:
    # Given an order of a run that trains something else
    order = to_train(chunks, workload="mnist")
    # When it is carried out, then both are named, with what to do
    assert reason(lambda: method(client, order)) == (
        f"ValueError: the run trains the workload 'mnist', client anna has '{PULL}': set CLIENT_WORKLOAD"
    )
    assert len(chunks.chunks) == 1


def leave(_: Arrays) -> None:
    sys.exit("the data set is broken")


def claim_nothing(_: Arrays) -> None:
    assert not MODEL


def complain_at_length(_: Arrays) -> None:
    raise ValueError("device-side assert\nline two\n" + "x" * 5000)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (
            leave,
            r"train\(\): SystemExit: the data set is broken \(test_client\.py, line \d+, in leave\); see the log of",
        ),
        (claim_nothing, r"train\(\): AssertionError: assert not .*test_client\.py, line \d+, in claim_nothing"),
        (complain_at_length, r"train\(\): ValueError: device-side assert \(test_client\.py, line"),
        (lambda p: (p, 10, {}), r"train\(\) returned tuple: a TrainResult\(parameters, num_examples,"),
        (
            lambda p: TrainResult([1.0], 2, 1, 1.0),  # type: ignore[arg-type]
            r"returned parameters that are list: a dict of NumPy arrays by name is",
        ),
        (lambda p: TrainResult(dict.fromkeys(p), 2, 1, 1.0), "of which 'point' is NoneType: a dict of NumPy arrays"),  # type: ignore[arg-type]
        (lambda p: TrainResult(p, 2, 1, 1.0, {"a": {"f1": 0.5}}), r"metric 'a' of train\(\): dict is no number"),  # type: ignore[dict-item]
        (lambda p: TrainResult(p, None, 1, 1.0), "returned num_examples: NoneType is no number"),  # type: ignore[arg-type]
        (
            lambda p: TrainResult(p, 10, 0, 1.0),
            r"^train\(\) returned num_steps=0: the number of the optimiser's steps is",
        ),
        (lambda p: TrainResult(p, 0, 0, 0.0), "^it has no training examples$"),
        (lambda p: TrainResult(p, 2, -1, 1.0), "num_steps"),
        (lambda p: TrainResult({"point": np.array(["text"])}, 2, 1, 1.0), "^ArraysError: array 'point' has dtype <U4"),
    ],
)
def test_whatever_the_workload_raises_or_returns_is_told_as_it_was(
    client: Client, chunks: MemoryChunks, act: Callable[[Arrays], Any], expected: str
) -> None:
    # Given a workload that does something else than to train, when it is to, then the answer says what
    told = reason(lambda: train.handle(acting(client, act), to_train(chunks)))
    assert re.search(expected, told), told
    assert len(told) < 400
    # And no update is in the store, beside the model
    assert list(chunks.chunks) == ["fl:blob:run/0:0"]


@pytest.mark.parametrize(
    "metrics", [None, {"f32": np.float32(0.5), "i64": np.int64(3), "0d": np.array(2.0), "yes": True}]
)
def test_numbers_of_any_kind_are_metrics(client: Client, chunks: MemoryChunks, metrics: Any) -> None:
    # Given a workload whose metrics are NumPy's numbers, or none at all, when it trains, then they are in the answer
    response = train.handle(acting(client, lambda p: TrainResult(p, 2, 1, 1.0, metrics)), to_train(chunks))
    assert response.metrics == ({} if metrics is None else {"f32": 0.5, "i64": 3.0, "0d": 2.0, "yes": 1.0})


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        (Evaluation(None, 0.5, 10), "evaluate() returned loss: NoneType is no number"),  # type: ignore[arg-type]
        (Evaluation(0.5, "good", 10), "evaluate() returned accuracy: str is no number"),  # type: ignore[arg-type]
        (Evaluation(0.5, 0.5, 2.5), "evaluate() returned num_examples is float: a whole number is needed"),  # type: ignore[arg-type]
        ((0.5, 10), "evaluate() returned tuple: an Evaluation(loss, accuracy, num_examples) is needed"),
        (Evaluation(float("nan"), 0.5, 3), "the loss is nan"),
        (Evaluation(float("inf"), 0.5, 3), "the loss is inf"),
        (Evaluation(0.0, 0.0, 0), "there are no held-out examples"),
    ],
)
def test_what_is_no_evaluation_is_told(client: Client, chunks: MemoryChunks, evaluation: Any, expected: str) -> None:
    # Given a workload that returns something else, when it is to evaluate, then the answer says what
    order = to_evaluate(chunks)
    response = Serving().carry_out(
        lambda: evaluate.handle(evaluating(client, evaluation), order), order.order_id, "anna"
    )
    assert response.status is Status.FAILED
    assert response.reason.startswith(expected)


def write_and_train(task: LocalTask) -> LocalResult:
    """Write to all that the algorithm is given, and train."""
    added_in_place(task.parameters["point"])
    for arrays_of_set in task.broadcast.values():
        added_in_place(arrays_of_set["point"])
    return LocalResult(task.train(None))


WRITING = Algorithm("writing", local=write_and_train, broadcast=("c",))
STATELESS = Algorithm("stateless", local=lambda task: LocalResult(task.train(None), state={}))  # type: ignore[arg-type]
BARE = Algorithm("bare", local=lambda task: task.train(None))  # type: ignore[arg-type,return-value]


def test_an_algorithm_of_ones_own_that_writes_to_what_it_is_given_changes_nobody_elses(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given two clients of one process, and an algorithm of one's own that writes to model and broadcast
    name = f"{__name__}:WRITING"
    names, serving, models = ("anna", "bert"), Serving(), Models(are_shared=True)
    for client_id in names:
        folder, allowed = tmp_path / client_id, Allowed(name)
        serving.add(replace(client, client_id=client_id, folder=folder, allowed=allowed, models=models))
    broadcast = blob.publish(chunks, "b", arrays.encode({"@c/point": np.zeros(3, np.float32)}))
    order = to_train(chunks, algorithm=name, broadcast=broadcast, seed=5)
    # When both train with one seed, then they come to the same, and what was sent is what it was
    updates = []
    for client_id in names:
        response = train.handle(serving.find(client_id), order.model_copy(update={"client_id": client_id}))
        assert response.update is not None
        updates.append(arrays.decode(chunks.get(response.update))["point"].tolist())
    assert updates[0] == updates[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "STATELESS",
            "returned a state that is dict: a function is needed, from what arrives of the sets that are sent",
        ),
        ("BARE", "returned TrainResult: a LocalResult is needed"),
    ],
)
def test_what_an_algorithm_of_ones_own_returns_wrongly_is_told(
    client: Client, chunks: MemoryChunks, name: str, expected: str
) -> None:
    # Given an algorithm that returns something else, when a client carries it out, then the answer says what is needed
    spec = f"{__name__}:{name}"
    assert expected in reason(
        lambda: train.handle(replace(client, allowed=Allowed(spec)), to_train(chunks, algorithm=spec))
    )


def test_parameters_that_are_gone_or_damaged_are_a_failed_answer(client: Client, chunks: MemoryChunks) -> None:
    # Given orders whose parameters are no arrays, and then are gone
    order = to_train(chunks, parameters=blob.publish(chunks, "fl:blob:run/1", [memoryview(b"nonsense")]))
    assert reason(lambda: train.handle(client, order)).startswith("ArraysError: ")
    chunks.chunks.clear()
    # When they are carried out, then the answers say so
    assert (
        reason(lambda: train.handle(client, order)) == "BlobMissingError: blob 'fl:blob:run/1': chunk 1 of 1 is missing"
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_left_out(client: Client, chunks: MemoryChunks, loss: float) -> None:
    # Given a workload whose loss is no number, which no answer can hold, when it trains, then the others are there
    metrics = {"train_loss": loss, "norm": 2.0}
    response = train.handle(acting(client, lambda p: TrainResult(p, 2, 1, 1.0, metrics)), to_train(chunks))
    assert (response.status, response.metrics) == (Status.TRAINED, {"norm": 2.0})


def test_an_order_that_comes_twice_is_carried_out_once(client: Client, serving: Serving, chunks: MemoryChunks) -> None:
    # Given an order that was carried out
    orders: list[TrainOrder] = []

    def act() -> Response:
        orders.append(to_train(chunks))
        return train.handle(client, orders[-1])

    first = serving.carry_out(act, "anna/run/1/train", "anna")
    # When it comes again, then it is answered as before, and that of another round is carried out
    assert serving.carry_out(act, "anna/run/1/train", "anna") == first
    assert len(orders) == 1
    serving.carry_out(act, "anna/run/2/train", "anna")
    assert len(orders) == 2


def test_an_order_that_comes_again_after_its_update_was_taken_is_carried_out_again(
    client: Client, serving: Serving, chunks: MemoryChunks
) -> None:
    # Given an order that was carried out, and whose update is not there any more
    order = to_train(chunks)
    first = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert first.update is not None
    chunks.delete(first.update.chunk_names())
    # When it comes again, then there is an update again, the same
    second = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert second.update == first.update
    assert client.stands_by(second)


def test_an_order_that_comes_again_while_its_answer_is_stored_is_not_carried_out_again(
    client: Client, serving: Serving, connection: Noting, chunks: MemoryChunks
) -> None:
    # Given an order whose update was taken, and whose round is still open, so that its answer is there
    order = to_train(chunks)
    connection.answered.add(order.order_id)
    first = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert first.update is not None
    chunks.delete(first.update.chunk_names())
    # When it comes again, then it is answered as before, and no update that nobody wants is sent
    assert serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna") == first
    assert first.update.chunk_names()[0] not in chunks.chunks


def test_an_update_that_is_no_number_is_sent_all_the_same(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that diverges, when it trains, then it is the orchestrator that judges
    assert train.handle(replace(client, workload=Diverging()), to_train(chunks)).status is Status.TRAINED


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x" * 5000), "ValueError: " + "x" * 1988),
        (KeyError(), "KeyError:"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_the_reason_of_a_failure_is_kept_short(error: Exception, expected: str) -> None:
    # Given something that raises
    def act() -> Response:
        raise error

    # When it is carried out, then the reason has 2000 letters at most
    assert reason(act) == expected


def test_a_failure_in_letters_that_utf8_hasnt_is_a_failed_answer(caplog: pytest.LogCaptureFixture) -> None:
    # What is captured of the log may be sent between processes, as UTF-8.
    caplog.set_level(logging.CRITICAL, logger="worker.serving")

    # Given an error that names a file whose name is no UTF-8
    def act() -> Response:
        raise OSError("no such file: caf\udce9")

    # When it is carried out, then there is an answer all the same
    assert reason(act).startswith("OSError: no such file: caf")


def test_a_signal_to_end_isnt_an_answer() -> None:
    # Given something that is interrupted
    def act() -> Response:
        raise KeyboardInterrupt

    # When it is carried out, then it ends
    with pytest.raises(KeyboardInterrupt):
        Serving().carry_out(act, "anna/run/1/train", "anna")


def test_an_answer_says_how_long_it_took() -> None:
    # Given an answer, when it is carried out, then the time is in it, in whole microseconds
    done = Response(order_id="o", client_id="anna", status=Status.DONE, duration_s=1e9)
    response = Serving().carry_out(lambda: done, "o", "anna")
    assert 0 <= response.duration_s < 1e9
    assert response.duration_s == round(response.duration_s, 6)


def test_clients_that_this_process_serves_are_found_by_id(client: Client, serving: Serving) -> None:
    # Given a client of this process
    # When it is looked for, then it is found, and others aren't
    assert serving.find("anna") is client
    with pytest.raises(LookupError, match="doesn't serve client 'bert'"):
        serving.find("bert")
    with pytest.raises(LookupError, match="doesn't serve client 'anna'"):
        Serving().find("anna")


def to_verify(chunks: MemoryChunks) -> VerifyOrder:
    return VerifyOrder.model_validate({**evaluate_order(parameters=published(chunks)).model_dump(), "attempt": 1})


def judging(client: Client, accuracy: float | None) -> Client:
    """A client that finds every model as good as this."""

    class Judging(Pull):
        def evaluate(self, parameters: Arrays, data: Any) -> Evaluation:
            return Evaluation(0.5, accuracy, len(data))

    return replace(client, workload=Judging())


def test_a_score_is_the_accuracy_on_the_client_s_own_training_examples(client: Client, chunks: MemoryChunks) -> None:
    # Given a client with two training examples, when it is to score an update, then it says how good that is on them
    response = verify.handle(judging(client, 0.25), to_verify(chunks))
    assert (response.status, response.metrics, response.num_examples) == (Status.SCORED, {"score": 0.25}, 2)


@pytest.mark.parametrize(("accuracy", "given"), [(None, "none"), (65.0, "65"), (-1.0, "-1"), (float("nan"), "nan")])
def test_without_an_accuracy_there_is_no_score_and_the_order_fails(
    client: Client, chunks: MemoryChunks, accuracy: float | None, given: str
) -> None:
    # Given a workload that gives no accuracy, or one that is no share
    client = judging(client, accuracy)
    # When it is to score an update, then the order fails and says why
    response = verify.handle(client, to_verify(chunks))
    assert (response.status, response.metrics) == (Status.FAILED, {})
    assert response.reason == f"a score needs an accuracy from 0 to 1, and the workload gives {given}"
    # And when it is to evaluate a model, then the loss is all
    assert evaluate.handle(client, to_evaluate(chunks)).metrics == {"loss": 0.5}
