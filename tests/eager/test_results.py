"""Results of training that aren't the model: what becomes of them in a run, and of those that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm, ServerRound
from orchestrator.observers.events import RoundOpened
from orchestrator.store.facts import RESULTS
from orchestrator.store.records import OpenRound
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, auxiliary, results
from tasks.arrays import Arrays
from tasks.context import Context
from tasks.errors import FederationError
from tasks.evaluation import Evaluation
from tasks.results import Result
from tasks.workload import ClientData, DataSource, Direction, TrainResult, Workload
from tests.eager.federation import Federation
from tests.support import Pull, points

COUNTING = f"{__name__}:Counting"
SUMS_ALONE = f"{__name__}:SUMS"
GROWING = f"{__name__}:GROWS"
EXAMPLES = 3 + 5 + 11
"""What the three clients have in all."""


class Counting(Pull):
    """Pulls a point, and returns beside it sums, a mean and a maximum of numbers that are known."""

    def __init__(self, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self.change = change
        self.found: list[Mapping[str, Any]] = []

    def results(self, context: Context) -> Mapping[str, Result]:
        return {
            "count": Result("sum", dtype="int64", to_clients=True),
            "length": Result("mean", shape=(2,), judged=True),
            "largest": Result("max"),
            "names": Result("concat", shape=(None,), dtype="uint8", max_bytes=20),
        }

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        self.found.append(context.results)
        trained = super().train(_of_three(parameters), data, context)
        made = {
            "count": np.array(len(data)),
            "length": np.array([len(data), 1.0]),
            "largest": np.array(float(len(data))),
            "names": np.frombuffer(context.client_id.encode(), np.uint8),
        }
        self.change(made)
        point = {} if len(parameters["point"]) > 3 else trained.parameters
        return TrainResult(point, len(data), trained.num_steps, trained.num_epochs, results=made)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return super().evaluate(_of_three(parameters), data, context)


def _of_three(parameters: Arrays) -> Arrays:
    """The model without what has grown on it."""
    return {**parameters, "point": parameters["point"][:3]}


def add_up(server: ServerRound) -> tuple[Arrays, Mapping[str, Arrays]]:
    """Move the point by what was counted; what comes as parameters would be far from that."""
    assert server.state.keys() <= {"kept"}  # what became of earlier results isn't in it
    point = server.target["point"] + np.float32(server.results["count"])
    return {**server.target, "point": point}, {"kept": {"point": point}}


SUMS = Algorithm("sums", step=add_up, sends_parameters=False, keeps=("kept",))
KEEPS_SUMS = Algorithm("keeps", step=add_up)
GROWS = Algorithm(
    "grows",
    step=lambda server: (
        {**server.target, "point": np.concatenate([server.target["point"], np.ones(1, np.float32)])},
        {},
    ),
    sends_parameters=False,
    grows=True,
)
GROWS_UNSAID = Algorithm("unsaid", step=GROWS.step, sends_parameters=False)


def reduced(folder: RunFolder, round_number: int) -> dict[str, Any]:
    """What became of a round's results, from the file that is kept of it."""
    found = auxiliary.split(arrays.map_file(folder.state(round_number)))[1][results.KIND]
    return {name: values.tolist() for name, values in found.items()}


def joined(federation: Federation, changes: Mapping[str, Callable[[dict[str, Any]], None]] | None = None) -> None:
    for client_id in ("anna", "bert", "carl"):
        federation.join(client_id, Counting((changes or {}).get(client_id, lambda _: None)), COUNTING)


def test_results_are_reduced_and_kept_and_stand_in_the_history(federation: Federation) -> None:
    # Given clients that return results beside the model
    joined(federation)

    # When they train for two rounds, with FedAvg
    folder = federation.run(workload=COUNTING, rounds=2)

    # Then each round's results are those of all clients
    mean = (3 * 3 + 5 * 5 + 11 * 11) / EXAMPLES
    names = list(b"annabertcarl")
    assert reduced(folder, 2) == {
        "count": EXAMPLES,
        "largest": 11.0,
        "length": [pytest.approx(mean), 1.0],
        "names": names,
    }

    # And the short ones are in the history, which says what is in the file
    assert folder.history()[1].results == {"count": EXAMPLES, "largest": 11.0, "length": [pytest.approx(mean), 1.0]}
    assert folder.history()[1].state_digest

    # And the model is the one without results
    plain = federation.another("plain").run(rounds=2)
    assert folder.checkpoint(2).read_bytes() == plain.checkpoint(2).read_bytes()


class Tables(Pull):
    """Returns a table, a hundred numbers, and one more."""

    def results(self, context: Context) -> Mapping[str, Result]:
        return {
            "table": Result("sum", shape=(2, 2)),
            "hundred": Result("sum", shape=(100,)),
            "more": Result("sum", shape=(101,)),
        }

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        found = {"table": np.eye(2), "hundred": np.ones(100), "more": np.ones(101)}
        return replace(super().train(parameters, data, context), results=found)


def test_long_results_are_in_the_file_alone(federation: Federation) -> None:
    federation.join_all(Tables(), f"{__name__}:Tables")
    folder = federation.run(workload=f"{__name__}:Tables", rounds=1)
    assert folder.history()[0].results == {"hundred": [3.0] * 100}
    assert reduced(folder, 1)["table"] == [[3.0, 0.0], [0.0, 3.0]]


def test_those_that_are_for_clients_reach_them_in_the_next_round(federation: Federation) -> None:
    # Given clients that note what they are given
    clients = [Counting() for _ in range(3)]
    for client_id, workload in zip(("anna", "bert", "carl"), clients, strict=True):
        federation.join(client_id, workload, COUNTING)

    # When they train for two rounds
    federation.run(workload=COUNTING, rounds=2)

    # Then it was nothing in the first, and the count in the second
    for client in clients:
        assert [{name: value.tolist() for name, value in found.items()} for found in client.found] == [
            {}, {"count": EXAMPLES}
        ]  # fmt: skip


def test_results_come_with_the_second_of_two_exchanges(federation: Federation) -> None:
    # Given an algorithm that asks clients for something before they train
    asking, plain = "tests.support:ASKING_FIRST", federation.another("plain")
    federation.algorithm = plain.algorithm = asking
    joined(federation)
    plain.join_all()

    # When they train for two rounds, then results are there, and the model is the one without them
    folder = federation.run(workload=COUNTING, rounds=2, algorithm=asking)
    assert reduced(folder, 2)["count"] == EXAMPLES
    expected = plain.run(rounds=2, algorithm=asking).checkpoint(2).read_bytes()
    assert folder.checkpoint(2).read_bytes() == expected


@pytest.mark.parametrize("compression", ["none", "int8", "topk:0.25", "bf16"])
def test_an_algorithm_steps_by_results_whatever_the_compression(federation: Federation, compression: str) -> None:
    # Given an algorithm that adds the count to the mean of the points
    joined(federation)
    plain = federation.another("plain")
    plain.join_all()

    # When a round is over
    folder = federation.run(workload=COUNTING, rounds=1, algorithm=f"{__name__}:KEEPS_SUMS", compression=compression)

    # Then it did, and the count had its last digit
    target = arrays.map_file(plain.run(rounds=1, compression=compression).checkpoint(1))["point"]
    found = arrays.map_file(folder.checkpoint(1))["point"]
    np.testing.assert_array_equal(found, target + np.float32(EXAMPLES))
    assert reduced(folder, 1)["count"] == EXAMPLES


def test_updates_may_carry_no_parameters(federation: Federation) -> None:
    # Given an algorithm that goes by results alone
    joined(federation)

    # When clients train for two rounds
    folder = federation.run(workload=COUNTING, rounds=2, algorithm=SUMS_ALONE)

    # Then the model went by them alone
    start, end = (arrays.map_file(folder.checkpoint(number))["point"] for number in (0, 2))
    np.testing.assert_array_equal(end, start + np.float32(EXAMPLES) + np.float32(EXAMPLES))

    # And updates are as large as their results: a whole number, three floats, and up to four letters
    sizes = [record.size_bytes for record in folder.history()[1].responses.values()]
    assert all(size < 8 + 16 + 8 + 4 + 400 for size in sizes)
    assert all(record.status == "trained" for record in folder.history()[1].responses.values())


def test_a_run_that_is_taken_up_again_has_the_results_of_before(federation: Federation) -> None:
    # Given a run of two rounds, and one that ended after its first, by a kill
    joined(federation)
    whole = federation.run("whole", workload=COUNTING, rounds=2, algorithm=SUMS_ALONE)
    half = federation.run("half", workload=COUNTING, rounds=1, algorithm=SUMS_ALONE)
    longer = half.config().model_copy(update={"rounds": 2})
    half.replace_config(longer, half.lock()).close()

    # When the second is taken up again, then its state and model are those of the first
    joined(federation)
    federation.go_on(half)
    assert half.checkpoint(2).read_bytes() == whole.checkpoint(2).read_bytes()
    assert half.state(2).read_bytes() == whole.state(2).read_bytes()


def test_a_model_grows_where_the_algorithm_says_so(federation: Federation) -> None:
    joined(federation)

    # Given an algorithm whose model has another number each round, when it says so, then it has
    folder = federation.run("said", workload=COUNTING, rounds=2, algorithm=GROWING, evaluate_clients=False)
    assert [len(arrays.map_file(folder.checkpoint(number))["point"]) for number in (0, 1, 2)] == [3, 4, 5]

    # When another run starts from what has grown, then that grows on
    joined(federation)
    changes: dict[str, Any] = {"algorithm": GROWING, "evaluate_clients": False, "rounds": 1}
    later = federation.run("later", workload=COUNTING, initial_model=str(folder.checkpoint(2)), **changes)
    assert len(arrays.map_file(later.checkpoint(1))["point"]) == 6

    # When it doesn't, then the round fails, says why, and the model stays
    joined(federation)
    with pytest.raises(FederationError, match=r"returned another model, and doesn't say that it grows: array 'point'"):
        federation.run("unsaid", workload=COUNTING, rounds=1, algorithm=f"{__name__}:GROWS_UNSAID")


class Following(Pull):
    """Pulls the first three numbers of a point, adds 1 to all further ones, and says a third, twice."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, Any]] = []

    def results(self, context: Context) -> Mapping[str, Result]:
        return {"thirds": Result("sum", shape=(2,), to_clients=True)}

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        self.found.append(context.results)
        trained = super().train(_of_three(parameters), data, context)
        point = np.concatenate([trained.parameters["point"], parameters["point"][3:] + np.float32(1)])
        return TrainResult(
            {**trained.parameters, "point": point}, len(data), trained.num_steps, results={"thirds": np.ones(2) / 3}
        )

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        return super().evaluate(_of_three(parameters), data, context)


GROWS_BY_UPDATES = Algorithm("grows", step=GROWS.step, grows=True)


@pytest.mark.parametrize("compression", ["bf16", "int8", "topk:0.25"])
def test_compression_goes_with_a_model_that_grows_and_leaves_results_as_they_are(
    federation: Federation, compression: str
) -> None:
    # Given clients that owe of each update what compression took, and are sent a sum that it would round
    clients = {client_id: Following() for client_id in ("anna", "bert", "carl")}
    for client_id, workload in clients.items():
        federation.join(client_id, workload, f"{__name__}:Following")

    # When a model grows for three rounds that they train
    algorithm = f"{__name__}:GROWS_BY_UPDATES"
    folder = federation.run(workload=f"{__name__}:Following", rounds=3, algorithm=algorithm, compression=compression)

    # Then all updates counted, and the sum came as it was made
    assert [record.status for each in folder.history() for record in each.responses.values()] == ["trained"] * 9
    assert [len(arrays.map_file(folder.checkpoint(number))["point"]) for number in (0, 1, 2, 3)] == [3, 4, 5, 6]
    for client in clients.values():
        assert [values.tolist() for found in client.found for values in found.values()] == [[1.0, 1.0]] * 2


KEEPS_RESULTS = Algorithm("keeps", step=lambda server: (server.target, {"results": {"point": server.target["point"]}}))


def test_a_state_named_as_results_are_fails_the_round(federation: Federation) -> None:
    # Given an algorithm that keeps a set of that name, when a run is over, then its rounds have failed for that
    joined(federation)
    with pytest.raises(FederationError, match=r"returned a state with the set 'results': that name is for the"):
        federation.run(workload=COUNTING, rounds=1, algorithm=f"{__name__}:KEEPS_RESULTS")


class OnlyCounting(Counting):
    """Returns no parameters, also where it is trained along a direction."""

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return replace(super().train(parameters, data, context), parameters={})

    def train_along(self, parameters: Arrays, data: Any, context: Context, direction: Direction) -> TrainResult:
        return self.train(parameters, data, context)


@pytest.mark.parametrize(("algorithm", "method"), [("fedavg", "train()"), ("scaffold", "train_along()")])
def test_who_returns_no_parameters_is_told_where_they_are_needed(
    federation: Federation, algorithm: str, method: str
) -> None:
    # Given clients that return results alone, when they train by an algorithm that averages parameters
    for client_id in ("anna", "bert", "carl"):
        federation.join(client_id, OnlyCounting(), f"{__name__}:OnlyCounting")
    with pytest.raises(FederationError) as failed:
        federation.run(workload=f"{__name__}:OnlyCounting", rounds=1, algorithm=algorithm)

    # Then the reason says so
    assert f"anna: {method} returned no parameters: {algorithm} needs those of the model" in str(failed.value)


class Bare(Workload):
    """Has no model: clients say how many they are."""

    def client_data(self, source: DataSource) -> ClientData:
        return points("client", 4)

    def results(self, context: Context) -> Mapping[str, Result]:
        return {"clients": Result("sum", dtype="int64")}

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return TrainResult({}, len(data), results={"clients": np.array(1)})


def bare(federation: Federation, **changes: Any) -> RunFolder:
    for client_id in ("anna", "bert", "carl"):
        federation.join(client_id, Bare(), f"{__name__}:Bare")
    return federation.run(workload=f"{__name__}:Bare", rounds=1, **changes)


def test_a_workload_without_a_model_collects_results(federation: Federation) -> None:
    folder = bare(federation)
    assert reduced(folder, 1) == {"clients": 3}
    assert folder.history()[0].results == {"clients": 3}
    assert arrays.map_file(folder.checkpoint(1)) == {}


class Longer(Bare):
    """Says that its clients' results are up to as long as this."""

    def results(self, context: Context) -> Mapping[str, Result]:
        return {"clients": Result("concat", shape=(None,), max_bytes=5 * 10**7)}

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        return TrainResult({}, len(data), results={"clients": np.ones(1)})


def test_what_is_on_its_way_is_counted_with_the_results(federation: Federation) -> None:
    # Given a workload whose updates may be of fifty megabytes
    opened: list[OpenRound | None] = []
    for client_id in ("anna", "bert", "carl"):
        federation.join(client_id, Longer(), f"{__name__}:Longer")
    run = RunFolder(federation.folder / "run")
    federation.on_event = lambda event: opened.append(run.open_round()) if isinstance(event, RoundOpened) else None

    # When three clients train, and 64 MB may be on their way, then that is a crowded round
    federation.run(workload=f"{__name__}:Longer", rounds=1, in_flight_mb=64)
    assert [each.is_crowded for each in opened if each] == [True]


@pytest.mark.parametrize("option", ["aggregator=median", "verify=peers", "mix=nnm", "compression=int8"])
def test_what_goes_by_parameters_is_refused_where_there_is_no_model(federation: Federation, option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(FederationError) as refused:
        bare(federation, **{name: (value,) if name in ("verify", "mix") else value})
    assert str(refused.value) == (
        f"--{name} {value} goes by the parameters in updates, and workload '{__name__}:Bare' has no model: leave it out"
    )


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda made: made.update({name: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("count", np.array(3.0)), "train() returned results: result 'count' is float64 (): int64 () is declared"),
        (
            put("secret", np.array(3)),
            "train() returned results: result 'secret' isn't declared: count, length, largest and",
        ),
        (lambda made: made.pop("count"), "train() returned results: result 'count' is missing"),
        (put("names", np.zeros(21, np.uint8)), "result 'names' has 21 bytes: 20 are allowed (max_bytes)"),
        (put("largest", np.array(np.inf)), "result 'largest' has values that are NaN or infinite"),
        (put("count", 3), "train() returned results of which 'count' is int: a dict of NumPy arrays by name is needed"),
    ],
)
def test_a_client_is_told_at_once_what_is_wrong_with_its_results(
    federation: Federation, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    # Given a client whose results aren't as declared
    joined(federation, {"carl": change})

    # When a round is over
    folder = federation.run(workload=COUNTING, rounds=1)

    # Then its slot says so, and the others' count
    record = folder.history()[0]
    assert record.responses["carl"].status == "failed"
    assert reason in record.responses["carl"].reason
    assert record.results["count"] == 3 + 5


@pytest.mark.parametrize("option", ["aggregator=median", "verify=norm", "mix=nnm", "compression=int8"])
def test_what_goes_by_parameters_is_refused_where_updates_carry_none(federation: Federation, option: str) -> None:
    # Given an algorithm whose updates are results alone, and an option that looks at parameters
    joined(federation)
    name, _, value = option.partition("=")
    changes: dict[str, Any] = {name: (value,) if name in ("verify", "mix") else value}

    # When a run begins, then it is refused
    flag = f"--{name} {value}"
    with pytest.raises(FederationError) as refused:
        federation.run(workload=COUNTING, algorithm=SUMS_ALONE, **changes)
    assert str(refused.value) == (
        f"{flag} goes by the parameters in updates, and those of --algorithm {SUMS_ALONE} carry none: leave it out"
    )


def test_results_that_are_out_of_proportion_are_dropped_where_they_are_judged(federation: Federation) -> None:
    # Given a client whose judged result is a million times as long as the others'
    joined(federation, {"carl": put("length", np.array([1e7, 0.0]))})
    # When a round is over, then its update is rejected for that
    record = federation.run("judged", workload=COUNTING, rounds=1).history()[0]
    assert record.responses["carl"].status == "rejected"
    assert record.responses["carl"].reason.startswith("its result 'length' has length 1e+07, the median of all is 5.1")
    assert record.results["count"] == 3 + 5

    # Given one whose other results are, when a round is over, then it counts: nobody asked to judge by them
    joined(federation, {"carl": put("largest", np.array(1e9))})
    record = federation.run("unjudged", workload=COUNTING, rounds=1).history()[0]
    assert record.responses["carl"].status == "trained"
    assert record.results["largest"] == 1e9


def test_what_a_workload_declares_is_in_the_runs_folder(federation: Federation, tmp_path: Path) -> None:
    joined(federation)
    folder = federation.run(workload=COUNTING, rounds=1)
    assert RESULTS.of(folder)["names"] == Result("concat", shape=(None,), dtype="uint8", max_bytes=20)
    assert json.loads((folder.path / "results.json").read_text())["count"]["to_clients"] is True
