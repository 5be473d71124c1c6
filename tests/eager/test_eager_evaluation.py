"""How good the model is, through Celery's eager mode: by the orchestrator and by clients, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tests.support
from orchestrator.driver.summary import summarise
from orchestrator.observers.events import ModelEvaluated
from orchestrator.observers.log import lines_of
from tasks import arrays
from tasks.context import Context
from tasks.evaluation import Evaluation
from tasks.workload import TrainResult
from tests.eager.federation import EXAMPLES, Federation, bits, digests, fedavg, model_of
from tests.support import Pull, points


def test_clients_evaluate_the_final_model_weighted_by_their_examples(federation: Federation) -> None:
    # Given a run; each client holds out two examples
    folder = federation.run()
    # When the last round's line is read, then it has the mean over the clients, and the others have none
    model = arrays.map_file(folder.checkpoint(3))
    losses = [
        Pull().evaluate(model, points(client_id, number).test, Context()).values
        for client_id, number in EXAMPLES.items()
    ]
    records = folder.history()
    assert [record.client_metrics for record in records[:2]] == [{}, {}]
    assert records[2].client_metrics["loss"] == pytest.approx(sum(values["loss"] for values in losses) / 3, rel=1e-12)
    # And with the flag that says so, nobody is asked
    again = federation.another("again").run(evaluate_clients=False)
    assert again.history()[2].client_metrics == {}


def test_a_client_that_holds_nothing_out_isnt_asked(federation: Federation) -> None:
    # Given three clients of which one says that it holds nothing out
    there = federation.registry.present()
    federation.registry.announce(there["bert"].model_copy(update={"holds_out": False}))
    # When a run is over, then the others' evaluations are all there are to be, and nobody is missed
    record = federation.run(rounds=1).history()[0]
    assert sorted(record.client_evaluations) == ["anna", "carl"]
    assert record.not_evaluated == {}
    # And where none does, no evaluation is recorded, and none is missed
    for announced in there.values():
        federation.registry.announce(announced.model_copy(update={"holds_out": False}))
    record = federation.run("nobody", rounds=1).history()[0]
    assert (record.client_metrics, record.num_evaluated, record.not_evaluated) == ({}, 0, {})


class Counting(Pull):
    """Counts its rounds; its loss at a client is that count."""

    def train(self, parameters: arrays.Arrays, data: Any, context: Context) -> TrainResult:
        context.state["count"] = context.state.get("count", 0) + 1
        return super().train(parameters, data, context)

    def evaluate(self, parameters: arrays.Arrays, data: Any, context: Context) -> Evaluation:
        return Evaluation(float(context.state.get("count", 0)), 1)


def test_clients_evaluate_with_what_they_kept_of_that_very_round(federation: Federation) -> None:
    # Given clients that count their rounds, when they evaluate after each, then they find the round that was closed
    federation.join_all(Counting())
    history = federation.run(evaluate_clients_every=1).history()
    assert [record.client_metrics["loss"] for record in history] == [1.0, 2.0, 3.0]
    # And nobody misses anything in the round after
    assert {response.reason for record in history for response in record.responses.values()} == {""}


def test_a_workload_without_held_out_data_is_trained_without_metrics(federation: Federation) -> None:
    # Given a workload with nothing for the orchestrator to evaluate on
    name = "tests.support:WithoutHoldout"
    federation.join_all(name=name)
    # When it is run, then the model is trained all the same
    folder = federation.run(workload=name)
    assert [record.metrics for record in folder.history()] == [{}, {}, {}]
    assert model_of(folder, 3) == bits(fedavg(folder.config(), ["anna", "bert", "carl"]))


class EvaluatesBadly(Pull):
    """Evaluates as it is told to: at the orchestrator from the first round on, and at clients that it is made for."""

    def __init__(self, act: Callable[[], Evaluation] | None = None) -> None:
        self.act = act

    def evaluate(self, parameters: arrays.Arrays, data: Any, context: Context) -> Evaluation:
        # Clients hold out two examples each, the orchestrator the same number; it counts what was trained.
        return self.act() if self.act and parameters["steps"] > 0 else super().evaluate(parameters, data, context)


def evaluate_with_error() -> Evaluation:
    raise RuntimeError("bad state")


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (
            evaluate_with_error,
            r"^evaluate\(\): RuntimeError: bad state \(test_eager_evaluation.*; see logs/jobs\.log$",
        ),
        (lambda: Evaluation(float("nan"), 10, {"accuracy": float("nan")}), "^the loss is nan$"),
        (lambda: Evaluation(0.0, 0), "^there are no held-out examples$"),
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
    assert ModelEvaluated(round_number=1, metrics={}, problem=record.evaluation_problem) in federation.events


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


def test_clients_that_cant_evaluate_are_counted_and_named(federation: Federation) -> None:
    # Given three clients, one of which can't evaluate, and one of which has a loss that is no number
    federation.join("bert", EvaluatesBadly(evaluate_with_error))
    federation.join("carl", EvaluatesBadly(lambda: Evaluation(float("nan"), 2, {"accuracy": 0.5})))
    # When a run is carried out
    folder = federation.run(rounds=1)
    # Then the metrics are the one's that could, and the record and the log say who couldn't
    [record] = folder.history()
    model = arrays.map_file(folder.checkpoint(1))
    expected = Pull().evaluate(model, points("anna", EXAMPLES["anna"]).test, Context())
    assert record.client_metrics == pytest.approx(expected.values)
    assert (record.num_evaluated, sorted(record.not_evaluated)) == (1, ["bert", "carl"])
    assert "RuntimeError: bad state" in record.not_evaluated["bert"]
    assert record.not_evaluated["carl"] == "the loss is nan"
    summary = summarise(folder.config(), folder, "completed", "", 1.0)
    assert (summary.num_evaluated, summary.num_not_evaluated) == (1, 2)


def test_clients_evaluate_every_so_many_rounds_and_after_the_last(federation: Federation) -> None:
    # Given a run of five rounds, every second of whose models clients evaluate
    folder = federation.run(rounds=5, evaluate_clients_every=2)
    # Then those of the second, the fourth and the last are
    asked = {record.round_number: record.client_evaluations for record in folder.history()}
    assert {number: sorted(found) for number, found in asked.items() if found} == {
        2: ["anna", "bert", "carl"],
        4: ["anna", "bert", "carl"],
        5: ["anna", "bert", "carl"],
    }
    # And each record has the clients' mean, how far they are from each other, and who is worst off
    for record in folder.history()[1::2]:
        losses = [metrics["loss"] for metrics in record.client_evaluations.values()]
        assert record.client_spread["loss"].worst == max(losses)
        assert record.client_spread["loss"].deviation == pytest.approx(np.std(losses))
        assert min(losses) < record.client_metrics["loss"] < max(losses)
    # And a line of the log each
    told = [line.text for event in federation.events for line in lines_of(event) if "on the data of" in line.text]
    assert [text.split(":")[0] for text in told] == ["round 2", "round 4", "round 5"]
    assert all(", deviation " in text and "(worst " in text for text in told)


def test_a_share_of_the_clients_evaluates_drawn_by_the_seed(federation: Federation) -> None:
    # Given runs with one seed, of which a share of a third evaluates each round
    def drawn(name: str, seed: int) -> list[list[str]]:
        folder = federation.another(name).run(
            rounds=6, evaluate_clients_every=1, evaluate_clients_fraction=0.3, seed=seed
        )
        return [sorted(record.client_evaluations) for record in folder.history()]

    # Then it is one client a round, the same in both, and others with another seed
    first = drawn("first", 1)
    assert [len(clients) for clients in first] == [1] * 6
    assert len({client for clients in first for client in clients}) > 1
    assert drawn("second", 1) == first != drawn("third", 2)
