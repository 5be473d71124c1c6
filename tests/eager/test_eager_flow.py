"""The whole flow through Celery's eager mode: one process, no broker, every task called by its name."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from blake3 import blake3

from orchestrator.observers.events import (
    ClientsEvaluated,
    ClientsJoined,
    Initialised,
    JobDone,
    ModelEvaluated,
    OrdersAnswered,
    RoundClosed,
    RoundOpened,
    RunStarted,
    SlotsFilled,
    UpdatesJudged,
)
from orchestrator.transport.eager import EagerTransport
from tasks import arrays
from tasks.broker.app import make_app
from tasks.context import Context
from tasks.errors import FederationError
from tasks.messages import TrainOptions
from tests.eager.federation import (
    EXAMPLES,
    Federation,
    bits,
    digests,
    fedavg,
    model_of,
)
from tests.support import Diverging, Pull, points


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
    others = [event for event in federation.events if not isinstance(event, JobDone | OrdersAnswered)]
    told = [RunStarted, ClientsJoined, Initialised, RoundOpened, SlotsFilled, UpdatesJudged, ClientsEvaluated]
    assert [type(event) for event in others] == [*told, RoundClosed, ModelEvaluated]
    joined, opened, filled, judged = (others[index] for index in (1, 3, 4, 5))
    labels = {client_id: {"point": count} for client_id, count in EXAMPLES.items()}
    assert joined == ClientsJoined(clients=EXAMPLES, labels=labels)
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


def test_three_hundred_rounds_are_a_plain_loop(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that needn't be waited for, and one client
    monkeypatch.setattr("os.fdatasync", lambda _: None)
    federation.registry.announcements.clear()
    federation.join("anna")
    # When 300 rounds are run
    options = TrainOptions(epochs=1, learning_rate=0.1)
    folder = federation.run(num_clients=1, rounds=300, options=options)
    # Then all are closed, with three steps each, and nothing has piled up
    assert len(folder.history()) == 300
    assert arrays.map_file(folder.checkpoint(300))["steps"].item() == 900
    assert federation.chunks.chunks == {}


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


def test_an_eager_transport_needs_an_eager_app() -> None:
    # Given an app that isn't eager, when a transport is made of it, then it is refused
    with pytest.raises(ValueError, match="task_always_eager"):
        EagerTransport(make_app("other", "memory://", include=()))
