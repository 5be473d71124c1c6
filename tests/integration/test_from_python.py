"""Programs that begin a run from Python: the page's, threads, kills, Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from redis import Redis

from celeriac import federate
from tests.integration.harness import Field, url, wait_until
from tests.integration.test_own_code import documented
from tests.support import PULL, Pull

SCRIPT = """
import numpy as np

from celeriac import ClientData, Evaluation, TrainResult, Workload, federate


class Mean(Workload):
    def initial_parameters(self, context):
        return {"mean": np.zeros(2)}

    def client_data(self, source):
        points = np.random.default_rng(source.part.index).normal(1, 1, (50, 2))
        return ClientData(train=points, test=points, num_train=50)

    def holdout_data(self, folder):
        return np.ones((10, 2))

    def train(self, parameters, data, context):
        return TrainResult({"mean": (parameters["mean"] + data.mean(axis=0)) / 2}, len(data), 1, 1.0)

    def evaluate(self, parameters, data, context):
        return Evaluation(float(((data - parameters["mean"]) ** 2).mean()), len(data))


"""
"""A program up to where it begins a run."""


def started(field: Field, folder: Path, code: str) -> Callable[[], list[psutil.Process]]:
    """Start a program, and return what says which processes there are that have its folder for theirs."""
    # As on a terminal, also where this test runs in the background, which has Ctrl-C ignored.
    heeding = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (folder / "program.py").write_text(heeding + SCRIPT + code)
    field.start("program", str(folder / "program.py"), cwd=folder, python=[sys.executable])

    def there() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                found += [process] if process.cwd() == str(folder) else []
            except psutil.Error:
                continue
        return found

    return there


def test_the_pages_program_trains_plots_stops_and_goes_on(field: Field, tmp_path: Path) -> None:
    # Given the page's blocks as one program, without a guard, when it is run
    (tmp_path / "program.py").write_text(documented("docs/from-python.md") + "\ntest_it_learns()\nprint(len(best))\n")
    program = field.start("program", "program.py", cwd=tmp_path, python=[sys.executable])
    program.succeeds()
    # Then it has said what became of the run, drawn it, and ended those that had more rounds
    assert "<run completed: 5 of 5 rounds, loss 0." in program.output
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_two_runs_from_two_threads_are_carried_out_side_by_side(field: Field, tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor() as pool:
    runs = list(pool.map(lambda seed: federate(Mean, rounds=2, seed=seed), (1, 2)))
print([run.status for run in runs], runs[0].folder != runs[1].folder)
"""
    (tmp_path / "program.py").write_text(SCRIPT + code)
    program = field.start("program", "program.py", cwd=tmp_path, python=[sys.executable])
    program.succeeds()
    assert "['completed', 'completed'] True" in program.output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_program_that_ends_leaves_nothing_behind(field: Field, tmp_path: Path, number: signal.Signals) -> None:
    # Given a program whose run has closed a round
    there = started(field, tmp_path, "federate(Mean, rounds=100000)")
    wait_until(lambda: list(tmp_path.glob("runs/*/history.jsonl")), "a round is closed", 60)
    folders = {path for process in there() if (path := process.environ().get("TMPDIR", "")).startswith("/tmp/celeriac")}
    assert folders
    # When it ends by a signal
    [program] = [process for process in there() if "program.py" in map(os.path.basename, process.cmdline())]
    os.kill(program.pid, number)
    # Then all that it has started ends too, and its temporary folders are gone
    wait_until(lambda: not there(), "all have ended", 60)
    wait_until(lambda: not any(Path(folder).exists() for folder in folders), "their folders are removed", 60)
    # And the run ended in good order, and Ctrl-C says how to go on
    said = (tmp_path / "program-0.log").read_text()
    assert ("KeyboardInterrupt\ngo on with federate(…, resume='runs/" in said) == (number == signal.SIGINT)
    assert '"status": "interrupted"' in next(tmp_path.glob("runs/*/summary.json")).read_text()


def test_a_background_run_is_followed_and_stopped(tmp_path: Path) -> None:
    # Given a run of this very test in the background, with a class that no module has; other tests may have had a
    # process started that stays
    class Own(Pull):
        pass

    before = set(psutil.Process().children(recursive=True))
    run = federate(Own, clients=2, rounds=100000, background=True, run_dir=tmp_path / "run")
    with pytest.raises(TimeoutError, match="the run goes on after"):
        run.wait(0.01)
    # When its rounds are followed up to the third
    numbers = []
    for record in run:
        numbers.append(record.round_number)
        assert record.metrics
        if record.round_number == 3:
            assert repr(run).startswith("<run running: ")
            run.stop()
            break
    # Then it has ended, and says so; nothing of it runs
    assert numbers == [1, 2, 3]
    assert run.wait().status == "interrupted"
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_run_over_a_broker_has_the_clients_that_are_there(field: Field, broker: Redis, tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        field.client(broker, name, CLIENT_WORKLOAD=PULL, cwd=tmp_path)
    run = federate(Pull, rounds=2, broker=url(broker), run_dir=tmp_path / "run")
    assert [record.cohort for record in run] == [["anna", "bert"]] * 2
    assert run.status == "completed"


def test_a_run_of_processes_and_one_in_this_process_have_equal_models(tmp_path: Path) -> None:
    class Own(Pull):
        pass

    runs = [federate(Own, rounds=2, run_dir=tmp_path / name, backend=name) for name in ("processes", "eager")]
    digests = [[record.digest for record in run] for run in runs]
    assert digests[0] == digests[1]


def test_what_the_command_refuses_is_raised_and_leaves_no_folder(tmp_path: Path) -> None:
    from tasks.errors import ConfigurationError

    class WithoutModel(Pull):
        def initial_parameters(self, context: object) -> object:  # type: ignore[override]
            raise ConfigurationError("there is no model for this")

    with pytest.raises(ConfigurationError, match="there is no model for this"):
        federate(WithoutModel, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
