"""Rounds of two exchanges through Celery's eager mode: what clients are asked for before they train."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from orchestrator.jobs import close_round
from orchestrator.observers.events import Event, JoinedLive, RoundOpened, SlotsFilled
from orchestrator.store.records import OpenRound, RoundRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.eager import EagerTransport
from tasks import arrays
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import RunFailedError
from tasks.evaluation import Evaluation
from tasks.messages import Order, Status
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tests.eager.federation import EXAMPLES, Federation, StoppedError, local_training
from tests.support import Pull, Raising, points
from worker.serving import Serving

ASKING_FIRST = "tests.support:ASKING_FIRST"


class Asked(Pull):
    """Says that its loss is this; an exception is raised."""

    def __init__(self, loss: float | Exception) -> None:
        self.loss = loss

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        if isinstance(self.loss, Exception):
            raise self.loss
        return Evaluation(self.loss, len(data), {"accuracy": 0.0})


class Noting(EagerTransport):
    """Notes the orders that are sent."""

    sent: ClassVar[list[Order]] = []

    def send(self, orders: Any, *rest: Any) -> None:
        self.sent.extend(orders)
        super().send(orders, *rest)


class Newcomer:
    """A client that comes when it is time to: then the clock goes on, so that it is time to look who has come."""

    def __init__(self, federation: Federation, is_time: Callable[[Event], bool]) -> None:
        self.now = 0.0
        self.federation = federation
        self.is_time = is_time
        federation.on_event = self.come

    def come(self, event: Event) -> None:
        if self.is_time(event):
            self.federation.join("dora")
            self.now += 10

    def clock(self) -> float:
        return self.now


@pytest.fixture
def federation(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Federation:
    """Anna, bert and carl, who may carry out :data:`tests.support.ASKING_FIRST`."""
    monkeypatch.setattr(Noting, "sent", [])
    federation.transport, federation.algorithm = Noting, ASKING_FIRST
    federation.join_all()
    return federation


def run(federation: Federation, **changes: Any) -> RunFolder:
    return federation.run(**{"algorithm": ASKING_FIRST, "rounds": 2, "evaluate_clients": False, **changes})


def orders(kind: type[Order]) -> list[tuple[str, int]]:
    """Whom orders of this kind were sent to, and for which round."""
    return [(order.client_id, order.round_number) for order in Noting.sent if isinstance(order, kind)]


def told(record: RoundRecord) -> dict[str, float]:
    """What the clients that trained were told that the mean loss is."""
    return {name: response.metrics["told"] for name, response in record.responses.items() if "told" in response.metrics}


def mean_loss(folder: RunFolder, after_round: int, client_ids: Iterable[str]) -> float:
    """The mean of what these clients say at a model: float32, taken in float64 and rounded once."""
    model = arrays.map_file(folder.checkpoint(after_round))
    losses = [Pull().evaluate(model, points(name, EXAMPLES[name]).train, Context()).loss for name in client_ids]
    return float(np.float32(np.mean([float(np.float32(loss)) for loss in losses])))


def test_clients_train_with_the_mean_of_what_they_sent_at_the_rounds_own_model(federation: Federation) -> None:
    # Given an algorithm that asks for the loss first, and adds the mean loss to the mean of the updates
    folder = run(federation)
    for number, record in enumerate(folder.history(), start=1):
        # When a round is over, then all were told the mean of their losses at the model that it started from
        mean = mean_loss(folder, number - 1, EXAMPLES)
        assert told(record) == dict.fromkeys(EXAMPLES, mean)
        # And the model is the mean of what they trained to, and that
        start = arrays.map_file(folder.checkpoint(number - 1))
        updates = [local_training(start, folder.config(), number, name)["point"].astype(float) for name in EXAMPLES]
        expected = np.mean(updates, axis=0).astype(np.float32) + np.float32(mean)
        assert arrays.map_file(folder.checkpoint(number))["point"].tolist() == expected.tolist()


def test_a_round_of_two_exchanges_says_what_it_cost_and_leaves_nothing(federation: Federation) -> None:
    # Given a run
    folder = run(federation)
    # When its first record is read
    record = folder.history()[0]
    model_bytes = folder.checkpoint(0).stat().st_size
    asked_bytes = len(b"".join(arrays.encode({"@loss/point": np.zeros(3, np.float32)})))
    # Then model, and mean loss, went to three clients, and as much came back
    assert record.bytes_down == record.bytes_up == 3 * (model_bytes + asked_bytes)
    # And nothing is left of either, and each was asked once for each in each round
    assert federation.chunks.chunks == {}
    assert not (folder.path / "updates").exists()
    assert orders(SurveyOrder) == orders(TrainOrder) == [(name, number) for number in (1, 2) for name in EXAMPLES]


def test_an_algorithm_that_asks_nothing_first_sends_nothing_more(federation: Federation) -> None:
    # Given a run of federated averaging, when its orders are looked at, then there is one a client and round
    folder = run(federation, algorithm="fedavg", rounds=1)
    assert [type(order) for order in Noting.sent if order.round_number == 1][:3] == [TrainOrder] * 3
    assert orders(SurveyOrder) == []
    assert not folder.surveyed(1).exists()


BAD = {
    "fails": (Asked(RuntimeError("the disk is full")), Status.FAILED, "RuntimeError: the disk is full"),
    "sends what is no number": (Asked(float("nan")), Status.REJECTED, "array '@loss/point' has values that"),
}


@pytest.mark.parametrize("how", BAD)
def test_who_fails_in_the_first_exchange_is_left_out_of_the_second(federation: Federation, how: str) -> None:
    # Given a client that fails when it is asked first
    workload, status, reason = BAD[how]
    federation.join("carl", workload)
    # When a round is run
    folder = run(federation, rounds=1)
    # Then its slot says why, it wasn't asked to train, and the others were told their own mean
    [record] = folder.history()
    assert record.responses["carl"].status is status
    assert reason in record.responses["carl"].reason
    assert orders(TrainOrder) == [("anna", 1), ("bert", 1)]
    assert told(record) == dict.fromkeys(("anna", "bert"), mean_loss(folder, 0, ("anna", "bert")))
    assert record.status == "closed"
    # And that is told as the end of a slot is
    filled = [event.slots for event in federation.events if isinstance(event, SlotsFilled)]
    told_of = [{client_id: slot.status for client_id, slot in slots.items()} for slots in filled]
    assert told_of == [{"carl": status}, {"anna": Status.TRAINED, "bert": Status.TRAINED}]


def test_a_round_fails_if_too_few_are_left_by_the_first_exchange(federation: Federation) -> None:
    # Given a client that fails at it
    federation.join("carl", Asked(RuntimeError("the disk is full")))
    # When a round is run that needs three
    with pytest.raises(RunFailedError, match="none of the run's rounds could be closed"):
        run(federation, rounds=1, min_updates=3)
    folder = RunFolder(federation.folder / "run")
    # Then it has failed by that, nobody has trained, and the model is what it was
    [record] = folder.history()
    assert record.status == "failed"
    assert record.reason == "the exchange before training: 2 clients are left, 3 are needed (--min-updates)"
    assert orders(TrainOrder) == []
    assert folder.checkpoint(1).read_bytes() == folder.checkpoint(0).read_bytes()
    assert record.responses["anna"].status is Status.SURVEYED


@pytest.mark.parametrize(("loss", "verify"), [(1e30, ()), (30.0, ("norm",))])
def test_one_that_sends_far_more_than_the_others_is_rejected(
    federation: Federation, loss: float, verify: tuple[str, ...]
) -> None:
    # Given a client that says that its loss is immense, or only far more than the others', which are about 1
    federation.join("carl", Asked(loss))
    # When a round is run, the other one where updates are verified
    folder = run(federation, rounds=1, verify=verify, threshold=("mad:50",) if verify else ())
    # Then it is left out for that
    [record] = folder.history()
    assert record.responses["carl"].status is Status.REJECTED
    assert "the set 'loss' with it has length" in record.responses["carl"].reason
    assert sorted(told(record)) == ["anna", "bert"]


def test_updates_of_a_second_exchange_are_scored_by_peers_as_any(federation: Federation) -> None:
    # Given a client that fails in the first exchange, when the others score each other's updates
    federation.join("carl", Asked(RuntimeError("no")))
    [record] = run(federation, rounds=1, verify=("peers",)).history()
    # Then each has a score of the other, and the round is closed
    assert record.status == "closed"
    scored_by = {name: response.scored_by for name, response in record.responses.items()}
    assert scored_by == {"anna": {"peers": "bert"}, "bert": {"peers": "anna"}, "carl": {}}


def test_what_comes_first_is_aggregated_as_updates_are(federation: Federation) -> None:
    # Given losses of 1, 2 and 60, when their median is wanted, then that is what clients are told
    for client_id, loss in zip(EXAMPLES, (1.0, 2.0, 60.0), strict=True):
        federation.join(client_id, Asked(loss))
    [record] = run(federation, rounds=1, aggregator="median").history()
    assert told(record) == dict.fromkeys(EXAMPLES, 2.0)


def test_the_first_exchange_fails_if_the_aggregator_needs_more_clients(federation: Federation) -> None:
    # Given an aggregator that is to stand more hostile clients than it can among three
    with pytest.raises(RunFailedError, match="none of the run's rounds could be closed"):
        run(federation, rounds=1, aggregator="median", num_byzantine=2)
    [record] = RunFolder(federation.folder / "run").history()
    assert record.status == "failed"
    assert record.reason.startswith("the exchange before training: median has 3 updates of which 2 may be hostile")


@pytest.mark.parametrize(
    ("compression", "tolerance"), [("none", 0.0), ("bf16", 2**-8), ("int8", 2**-7), ("topk:0.25", 0)]
)
def test_what_is_sent_first_is_compressed_like_models(
    federation: Federation, compression: str, tolerance: float
) -> None:
    # Given losses whose mean is 2
    for client_id, loss in zip(EXAMPLES, (1.0, 2.0, 3.0), strict=True):
        federation.join(client_id, Asked(loss))
    # When they travel compressed, then so much is lost of the mean as of a model
    [record] = run(federation, rounds=1, compression=compression).history()
    assert record.status == "closed"
    assert told(record) == {name: pytest.approx(2.0, rel=tolerance) for name in EXAMPLES}


def test_a_client_that_comes_in_time_takes_part_in_both_exchanges(federation: Federation) -> None:
    # Given a client that comes when the first exchange is on
    newcomer = Newcomer(federation, lambda event: isinstance(event, RoundOpened))
    # When the round is over, then it has sent what was asked for, and trained
    [record] = run(federation, rounds=1, clock=newcomer.clock).history()
    assert sorted(told(record)) == ["anna", "bert", "carl", "dora"]
    assert orders(SurveyOrder)[-1] == ("dora", 1)
    assert JoinedLive(round_number=1, client_ids=("dora",)) in federation.events


def test_a_client_that_comes_when_the_first_exchange_is_over_is_in_the_next_round(federation: Federation) -> None:
    # Given a client that comes when it is known who is left out of the second exchange
    federation.join("carl", Asked(RuntimeError("no")))
    newcomer = Newcomer(federation, lambda event: isinstance(event, SlotsFilled) and "carl" in event.slots)
    # When two rounds are over, then it wasn't in the first, and is in the second
    records = run(federation, clock=newcomer.clock).history()
    assert [record.cohort for record in records] == [["anna", "bert", "carl"], ["anna", "bert", "carl", "dora"]]
    assert [sorted(told(record)) for record in records] == [["anna", "bert"], ["anna", "bert", "dora"]]


def killed_at(call: int, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """End the run at the ``call``-th time that the open round is kept, just before that or just after."""
    save, calls = RunFolder.save_open_round, [0]

    def stop(folder: RunFolder, record: OpenRound) -> None:
        calls[0] += 1
        if calls[0] == call and before:
            raise StoppedError
        save(folder, record)
        if calls[0] == call:
            raise StoppedError

    monkeypatch.setattr(RunFolder, "save_open_round", stop)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3], ids=["first exchange is sent", "it is over", "second is sent"])
@pytest.mark.parametrize("keeps_broker", [True, False], ids=["broker stays", "broker goes too"])
def test_a_run_that_is_killed_between_the_exchanges_ends_at_the_same_model(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, before: bool, keeps_broker: bool
) -> None:
    # Given what an undisturbed run comes to
    whole = run(federation, name="undisturbed", rounds=1)
    # When another is killed in its first round, and all processes are started again
    with monkeypatch.context() as patched:
        killed_at(call, patched, before=before)
        with pytest.raises(StoppedError):
            run(federation, name="killed", rounds=1)
    if not keeps_broker:
        federation.chunks.chunks.clear()
        federation.serving = Serving()
    federation.join_all(incarnation="second")
    folder = federation.go_on(RunFolder.open(tmp_path / "killed"))
    # Then it comes to the same, to the last bit, and leaves nothing
    assert folder.checkpoint(1).read_bytes() == whole.checkpoint(1).read_bytes()
    assert federation.chunks.chunks == {}


def test_a_run_that_ends_while_what_came_first_is_aggregated_goes_on_and_asks_nobody_again(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what an undisturbed run comes to, and one that ends when all have sent what they were asked for
    whole = run(federation, name="undisturbed", rounds=1)

    def fail(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(close_round, "close_survey", fail)
        with pytest.raises(RunFailedError, match="before round 1's training failed: RuntimeError: the disk is full"):
            run(federation, name="killed", rounds=1)
    num_asked = len(orders(SurveyOrder))
    # When it goes on, then nobody is asked again, and it comes to the same
    folder = federation.go_on(RunFolder.open(tmp_path / "killed"))
    assert len(orders(SurveyOrder)) == num_asked
    assert folder.checkpoint(1).read_bytes() == whole.checkpoint(1).read_bytes()


def test_an_order_to_train_with_something_else_from_the_first_exchange_is_another_order(
    federation: Federation,
) -> None:
    # Given two attempts at a round, in one of which carl isn't there in the first exchange
    ids: list[dict[str, str]] = []
    for workload in (Pull(), Raising(), Asked(RuntimeError("not there"))):
        federation.join("carl", workload)
        Noting.sent.clear()
        run(federation, name=f"attempt-{len(ids)}", rounds=1)
        ids.append({order.client_id: order.order_id for order in Noting.sent if isinstance(order, TrainOrder)})
    # When anna's orders are compared, then what she is told makes the difference, and nothing else
    assert ids[0] == ids[1]
    assert ids[0]["anna"] != ids[2]["anna"]
    assert ids[2]["anna"].startswith("client/anna/run/1/train-")
