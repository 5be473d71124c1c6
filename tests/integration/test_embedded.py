"""The embedded default: one command, and nothing is left of it however it ends."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from matplotlib import image

from tests.integration import harness
from tests.integration.harness import Field, history, summary, wait_until
from tests.support import open_to_others, with_umask

ROUNDS = 6


def uses_torch(pid: int) -> bool:
    """Whether a process has loaded torch's library."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def finish(field: Field, run_dir: Path, *options: str, **environment: str) -> None:
    field.run(run_dir, "--no-evaluate-clients", *options, **environment).succeeds()


@pytest.mark.usefixtures("counted")
def test_digits_are_learned_with_the_defaults(field: Field, tmp_path: Path) -> None:
    # Given the command without any option but the run's folder
    run_dir = tmp_path / "run"

    # When it runs, with an umask that keeps nothing from anybody
    with with_umask(0):
        program = field.run(run_dir, workload=None, observe="")
    wait_until(lambda: history(run_dir), "a round is closed")
    open_meanwhile = open_to_others(run_dir)
    with_torch = [process for process in program.descendants() if uses_torch(process.pid)]
    orchestrator_uses_torch = uses_torch(program.process.pid)
    code = program.wait()

    # Then the digits are learned, by workers that use torch, while the orchestrator's process doesn't
    assert code == 0, program.output
    assert len(with_torch) >= 3
    assert not orchestrator_uses_torch
    # And nobody else could read any of it, or can
    assert open_meanwhile == open_to_others(run_dir) == []

    # And the folder holds all that is promised
    result = summary(run_dir)
    assert result["status"] == "completed"
    assert result["rounds"] == 10
    assert result["final"]["accuracy"] >= 0.95
    assert result["client_metrics"]["accuracy"] >= 0.9
    records = history(run_dir)
    assert [record["round_number"] for record in records] == list(range(1, 11))
    assert all(record["cohort"] == ["client-1", "client-2"] for record in records)
    assert {response["status"] for record in records for response in record["responses"].values()} == {"trained"}
    assert len(list((run_dir / "checkpoints").iterdir())) == 11
    assert image.imread(run_dir / "plot.png").shape[0] > 100
    assert "completed: 10 rounds" in program.output
    for client_id in ("client-1", "client-2"):
        model = run_dir / "clients" / client_id / "model.safetensors"
        assert model.read_bytes() == harness.checkpoint(run_dir, 10)


def test_the_same_seed_gives_the_same_model_also_when_clients_finish_in_another_order(
    field: Field, tmp_path: Path
) -> None:
    # Given runs in which one client, then the other is the slow one
    slow = {"STEP_S_client-1": "0.05"}, {"STEP_S_client-2": "0.05"}

    # When they run with one seed, and a third with another
    for name, seed, environment in (("a", "1", slow[0]), ("b", "1", slow[1]), ("c", "2", {})):
        finish(field, tmp_path / name, "--rounds", "3", "--seed", seed, **environment)

    # Then the first two end with the same bytes, and the third with others
    a, b, c = (harness.checkpoint(tmp_path / name, 3) for name in "abc")
    assert a == b
    assert a != c


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final checkpoint of a run of ``ROUNDS`` rounds that nobody disturbs."""
    return harness.checkpoint(harness.undisturbed(tmp_path_factory.mktemp("undisturbed"), rounds=ROUNDS), ROUNDS)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """An empty folder for temporary files, with a path that is short enough for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="fl-"))
    yield folder
    shutil.rmtree(folder)


def moment_reached(run_dir: Path, moment: str) -> bool:
    if moment == "start":
        return (run_dir / "config.json").exists()
    if moment == "round":
        return len(history(run_dir)) >= ROUNDS // 2
    return len(history(run_dir)) == ROUNDS


@pytest.mark.parametrize("moment", ["start", "round", "end"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_an_orchestrator_that_is_killed_and_it_can_go_on(
    field: Field, tmp_path: Path, temporary: Path, undisturbed: bytes, number: signal.Signals, moment: str
) -> None:
    # Given a run whose rounds take a while
    run_dir = tmp_path / "run"
    program = field.run(run_dir, f"--rounds {ROUNDS} --no-evaluate-clients", STEP_S="0.05", TMPDIR=str(temporary))
    wait_until(lambda: moment_reached(run_dir, moment), f"the run is at its {moment}:\n{program.output}")
    descendants = program.descendants()

    # When the orchestrator gets the signal
    program.send(number)
    code = program.wait()

    # Then nothing of it is left
    assert code in ({-9} if number == signal.SIGKILL else {128 + number}), program.output
    if number != signal.SIGKILL:
        assert "go on with: python -m orchestrator.start --resume" in program.output
    _, alive = psutil.wait_procs(descendants, timeout=harness.PATIENCE_S)
    assert alive == []
    wait_until(lambda: not list(temporary.iterdir()), "its temporary folders are gone")

    # And taken up again it ends as if nothing had been
    resumed = field.resume(run_dir)
    resumed.succeeds()
    assert len(history(run_dir)) == ROUNDS
    assert harness.checkpoint(run_dir, ROUNDS) == undisturbed
    assert summary(run_dir)["status"] == "completed"


def test_a_run_that_is_at_work_is_refused_to_a_second_start_and_goes_on(field: Field, tmp_path: Path) -> None:
    # Given a run that is at work, and held up there
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    program = field.run(run_dir, f"--rounds {ROUNDS}", HELD=str(held))
    wait_until(lambda: "round 1 opened" in program.output, "it trains")

    # When it is to be taken up, and to be begun again, then both are refused
    for start, told in (field.resume, "another orchestrator is at work"), (field.run, "holds a run already"):
        second = start(run_dir)
        assert second.wait() == 2
        assert told in second.output

    # And the first goes on to its end
    held.unlink()
    program.succeeds()
    assert len(history(run_dir)) == ROUNDS


def test_a_run_is_ended_from_another_terminal_and_goes_on_later(field: Field, tmp_path: Path) -> None:
    # Given a run that is at work, and held up in a later round than the first
    run_dir, held = tmp_path / "run", tmp_path / "held"
    program = field.run(run_dir, f"--rounds {ROUNDS}", STEP_S="0.2", HELD=str(held))
    wait_until(lambda: history(run_dir), "a round is closed")
    held.touch()
    # When it is stopped by its folder
    stopping = field.start("stop", "orchestrator.runs", "stop", str(run_dir))
    stopping.succeeds()
    # Then it has ended as by Ctrl-C, and whoever stopped it is told how
    assert program.wait() == 130
    assert stopping.output == f"run: interrupted, {len(history(run_dir))} rounds\n"
    assert not (run_dir / "process.json").exists()
    # And when it is taken up again it ends as if nothing had been; then there is nothing to stop
    field.resume(run_dir).succeeds()
    again = field.start("stop", "orchestrator.runs", "stop", str(run_dir))
    assert again.wait() == 2
    assert again.output.endswith("run is not on: completed\n")
