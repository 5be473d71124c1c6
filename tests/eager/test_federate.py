"""A federation from Python, in this process: options, the run that is returned, hooks, going on."""

from __future__ import annotations

import gc
import itertools
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from celeriac import Context, FederatedRun, TrainResult, federate, load_model
from celeriac.selectors import ConnectedClient, Selection
from orchestrator.store.records import RoundRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.trust.authority import Authority
from tasks.announcement import UNKNOWN, Announcement
from tasks.errors import BrokerUnreachableError, ConfigurationError, FederationError, RunFailedError
from tests.support import PULL, Pull, Raising, open_to_others, with_umask


def toy(workload: Any = Pull, **options: Any) -> FederatedRun:
    return federate(workload, **{"rounds": 3, "backend": "eager", **options})


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_has_its_rounds_its_model_and_its_summary() -> None:
    with with_umask(0):
        run = toy(clients=3, seed=7)
    # Then nobody else may look at any of it
    assert open_to_others(run.folder) == []
    # Then it says what became of it
    assert run.status == "completed"
    assert run.summary is not None
    assert run.summary.rounds == 3
    assert repr(run).startswith("<run completed: 3 of 3 rounds, loss ")
    # And it has a record a round, and a row
    assert [record.round_number for record in run] == [1, 2, 3]
    assert isinstance(run.history, pd.DataFrame)
    assert list(run.history.index) == [1, 2, 3]
    assert list(run.history.num_accepted) == [3, 3, 3]
    assert list(run.history.loss) == [record.metrics["loss"] for record in run]
    # And models: the last, any other, the best
    assert same(run.parameters, load_model(run, 3))
    assert not same(run.parameters, load_model(run, 0))
    assert run.best is not None
    assert same(load_model(run, round="best"), load_model(run.folder, run.best))
    assert run.parameters["point"].flags.writeable


def test_a_data_set_and_a_level_of_skew_are_named_as_on_the_command_line() -> None:
    # Given both by name, when a round is run, then its workload and its clients' labels are those
    run = federate(dataset="digits", niid=5, clients=5, rounds=1, backend="eager")
    assert RunFolder.open(run.folder).config().workload == "digits,split=niid:5"
    assert run.status == "completed"
    with pytest.raises(ConfigurationError, match=r"^--dataset digits and --workload mnist exclude each other: "):
        federate("mnist", dataset="digits", backend="eager")
    with pytest.raises(ConfigurationError, match=r"^federate\(\): niid = 9: a whole number from 0 to 5 is allowed$"):
        federate(niid=9, backend="eager")


def test_a_selector_is_told_of_clients_what_it_needs() -> None:
    # Given a selector that declares nothing, and one that goes by labels
    told: list[Announcement] = []

    def first(clients: list[ConnectedClient], selection: Selection) -> list[str]:
        told.extend(client.announcement for client in clients)
        return [clients[0].client_id]

    class ByLabels:
        needs = ("labels",)

        def __call__(self, clients: list[ConnectedClient], selection: Selection) -> list[str]:
            return first(clients, selection)

    # When each chooses, then clients told no details, or their labels alone, as at a broker
    toy(clients=2, rounds=1, select=first)
    toy(clients=2, rounds=1, select=ByLabels())
    assert [said.labels for said in told] == [{}, {}, {"point": 4}, {"point": 4}]
    assert [said.hardware for said in told] == [UNKNOWN] * 4
    toy(clients=2, rounds=1, select="where:labels=point,min-memory-gb=1")
    with pytest.raises(FederationError, match=r"^0 of 2 connected clients fit 'where:labels=line', 1 are needed: "):
        toy(clients=2, rounds=1, select="where:labels=line", wait_timeout=0.1)


def test_its_plot_is_a_figure_that_a_notebook_shows() -> None:
    figure: Any = toy().plot()
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "accuracy"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_its_folder_is_removed_when_it_is_let_go_unless_it_was_named(tmp_path: Path) -> None:
    folder = toy().folder
    gc.collect()
    assert not folder.parent.exists()
    run = toy(run_dir=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    del run
    gc.collect()
    assert load_model(tmp_path / "run", "last")


def test_options_go_by_the_names_of_the_config() -> None:
    class Noting(Pull):
        run_config: ClassVar = {"hidden": 8}
        seen: ClassVar[list[tuple[int, Any]]] = []

        def train(self, parameters: Any, data: Any, context: Context) -> TrainResult:
            self.seen.append((context.options.epochs, context.run_config["hidden"]))
            return super().train(parameters, data, context)

    toy(
        Noting,
        clients=2,
        rounds=1,
        epochs=4,
        run_config={"hidden": 64},
        settings={"momentum": 0.5},
        algorithm="fedavgm",
    )
    assert Noting.seen == [(4, 64)] * 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"learning_rte": 0.1}, "learning_rte: there is no such option; did you mean 'learning_rate'?"),
        ({"rounds": 0}, "rounds = 0: a whole number from 1 is allowed"),
        ({"clients": 2, "min_updates": 3, "accept": "nobody"}, 'accept = "nobody": one of live, next, closed'),
        ({"algorithm": "fedaverage"}, "unknown algorithm 'fedaverage'"),
        ({"algorithm": 3}, "algorithm = 3"),
        ({"workload": "tests.support:Pul"}, "did you mean 'Pull'?"),
        ({"backend": "ray"}, "backend = 'ray': one of processes, eager is allowed"),
        ({"background": True}, "without background or broker"),
        (
            {"broker": "redis://localhost", "backend": "processes", "select": lambda _: []},
            "select: clients of a broker",
        ),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        toy(**{"workload": PULL, **options})
    assert told in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_objects_stand_where_the_command_has_names() -> None:
    seen: list[int] = []

    def first(clients: list[ConnectedClient], selection: Selection) -> list[str]:
        return [clients[0].client_id]

    def rate(round_number: int, num_rounds: int) -> float:
        seen.append(round_number)
        return 0.1

    run = toy(Pull(), clients=3, select=first, schedule={"learning_rate": rate}, observe="plot")
    assert {tuple(record.cohort) for record in run} == {("client-1",)}
    assert set(seen) == {1, 2, 3}


def test_a_hook_is_told_each_round_with_its_metrics_and_may_end_the_run() -> None:
    told: list[RoundRecord] = []

    def hook(record: RoundRecord) -> bool:
        told.append(record)
        return record.round_number < 2

    run = toy(rounds=5, on_round_end=hook)
    assert [record.round_number for record in told] == [1, 2]
    assert all(record.metrics for record in told)
    assert run.status == "interrupted"
    assert len(run.history) == 2


def test_what_a_hook_raises_is_raised_here_and_ends_the_run(tmp_path: Path) -> None:
    def hook(record: RoundRecord) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        toy(on_round_end=hook, run_dir=tmp_path / "run")
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 1


def test_a_run_that_fails_raises_what_the_users_code_did() -> None:
    with pytest.raises(RunFailedError, match=r"3 rounds in a row failed.*RuntimeError: the disk is full \(support.py"):
        toy(Raising)

    class WithoutData(Pull):
        def client_data(self, source: Any) -> Any:
            raise FileNotFoundError("patients.csv")

    with pytest.raises(FederationError, match=r"client_data\(\): FileNotFoundError: patients.csv") as raised:
        toy(WithoutData)
    assert isinstance(raised.value.__cause__, FileNotFoundError)


def test_a_run_is_gone_on_with_and_ends_where_one_with_as_many_rounds_does(tmp_path: Path) -> None:
    # Given a workload that can't be imported, and a run of it with two rounds
    class Own(Pull):
        pass

    toy(Own, rounds=2, run_dir=tmp_path / "run")
    # When it is given more
    run = toy(Own, resume=tmp_path / "run", rounds=4)
    # Then it has as many in all, and the same model as one that had them from the beginning
    assert len(run.history) == 4
    assert same(run.parameters, toy(Own, rounds=4).parameters)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 3}, "seed is 0 there, not 3"),
        ({"workload": None}, "has Own of a program: give that again, too"),
        ({"rounds": 1}, "2 rounds of the run in"),
    ],
)
def test_going_on_with_what_the_run_is_not_is_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    class Own(Pull):
        pass

    toy(Own, rounds=2, run_dir=tmp_path / "run")
    with pytest.raises(ConfigurationError) as raised:
        federate(**{"workload": Own, "backend": "eager", "resume": tmp_path / "run", **options})
    assert told in str(raised.value)


def test_a_run_whose_own_code_has_changed_is_gone_on_with_if_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run with an aggregator of a module, whose file changes
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "changing_sums.py"
    own.write_text("from celeriac.aggregators.mean import aggregate_mean\n")
    by_name = {"aggregator": "changing_sums:aggregate_mean"}
    toy(rounds=1, run_dir=tmp_path / "run", **by_name)
    own.write_text("from celeriac.aggregators.mean import aggregate_mean  # as before\n")
    # When it is gone on with, then that has to be said
    with pytest.raises(ConfigurationError, match=r"has changed since .*federate\(accept_changed_code=True\)"):
        toy(resume=tmp_path / "run", rounds=2, **by_name)
    assert toy(resume=tmp_path / "run", rounds=2, accept_changed_code=True, **by_name).status == "completed"
    with pytest.raises(ConfigurationError, match="goes with resume"):
        toy(accept_changed_code=True)


def test_runs_from_two_threads_come_one_after_the_other() -> None:
    runs = list[FederatedRun]()
    threads = [threading.Thread(target=lambda: runs.append(toy(seed=3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(runs[0].parameters, runs[1].parameters)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    run = toy()
    wrongs: dict[Any, str] = {4: "round 4 .* isn't over", -1: "a number from 0, 'last' or 'best'", "first": "'best'"}
    for wrong, told in wrongs.items():
        with pytest.raises(ConfigurationError, match=told):
            load_model(run, wrong)
    with pytest.raises(ConfigurationError, match="isn't the folder of a run"):
        load_model(tmp_path)


def test_a_history_without_pandas_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    rows = toy().history
    assert [row["round"] for row in rows] == [1, 2, 3]


def test_a_run_says_a_line_a_round_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    run = toy(show=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["round 1", "round 2", "round 3"]
    assert all("loss" in line for line in itertools.islice(lines, 3))
    assert run.wait() is run


def test_the_operators_folder_may_be_a_path(tmp_path: Path) -> None:
    # Given the folder of a federation whose broker isn't there
    folder = Authority.make(tmp_path / "op", "rediss://127.0.0.1:1/0", ["127.0.0.1"], 1).folder
    # When a run is to go over it, then that is what is said, however the folder is named
    for named in (folder, str(folder)):
        with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1"):
            federate(PULL, broker=named, run_dir=tmp_path / "run")
