"""Kills a run at each of its points in turn, starts it again, and compares the model: is a round lost, or done twice?

The runs are on the embedded server, which ends with them, so that no turns are given in the crowded one. They are of
the example that does without torch, by which they are done sooner.

``python -m benchmarks.kill_points``. What a point is, ``benchmarks/killing/sitecustomize.py`` says. A run has some
hundreds, and each takes about five seconds of two cores; ``--every 20`` tries one of twenty.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.integration.harness import EXAMPLE, Field

ROUNDS = 2
KINDS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "peers": ("--verify", "peers", "--clients", "3"),
    "scaffold": ("--algorithm", "scaffold"),
    "mime": ("--algorithm", "mime"),
    "goals": ("--patience", "9", "--keep-best", "1"),
    "crowded": ("--in-flight-mb", "0.0001", "--clients", "5"),
}
"""Name -> what the run is given beside the usual."""
PATIENCE_S = 120.0
NEVER = 0
HOOK = Path(__file__).parent / "killing"


class Study:
    """Runs of one kind, each in a folder of its own.

    Args:
        kind: A name of ``KINDS``.
        folder: Where the runs' folders go.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self._options = KINDS[kind]
        self._folder = folder
        self.whole = folder / "whole"
        """Folder of the run that isn't killed."""
        self.points = self._points_of_whole_run()
        """What each point of a run that isn't killed is, in the order in which they came."""
        self.num_killed = 0
        """Runs that were killed: one that comes to fewer points than the whole one has ended before."""
        self._model = _final_model(self.whole)

    def _points_of_whole_run(self) -> list[str]:
        code, output = self._start(self.whole, NEVER)
        if code:
            raise RuntimeError(f"the run that nobody kills ended with code {code}:\n{output}")
        return (self._folder / "whole.points").read_text(encoding="utf-8").splitlines()

    def kill_at(self, number: int) -> str:
        """Kill a run at a point, start it again, and return what is wrong with what came of it; empty if nothing is."""
        run_dir = self._folder / f"killed-{number}"
        code, output = self._start(run_dir, number)
        if code not in (0, -signal.SIGKILL):
            return f"it ended with code {code} where it was to be killed:\n{output}"
        if code:
            self.num_killed += 1
            code, output = self._start(run_dir, NEVER, is_again=True)
            if code:
                return f"started again, it ended with code {code}:\n{output}"
        return self.fault(run_dir)

    def fault(self, run_dir: Path) -> str:
        """Return what is wrong with a run that has ended; empty if nothing is."""
        rounds = [json.loads(line)["round_number"] for line in (run_dir / "history.jsonl").read_text().splitlines()]
        if rounds != list(range(1, ROUNDS + 1)):
            return f"its history has the rounds {rounds}"
        if _final_model(run_dir) != self._model:
            return "its model differs"
        stray = [str(path.relative_to(run_dir)) for path in run_dir.rglob("*.tmp")]
        return f"it left {', '.join(stray)}" if stray else ""

    def _start(self, run_dir: Path, kill_at: int, *, is_again: bool = False) -> tuple[int, str]:
        """Start a run, or take it up again where there is something to take up; return its exit code and output."""
        is_resumed = is_again and (run_dir / "config.json").exists()
        what = "--workload", "study:Study", "--clients", "2", "--rounds", str(ROUNDS), *self._options
        new = ("--run-dir", str(run_dir), *what)
        program = Field(self._folder).start(
            f"{run_dir.name}{'.again' if is_again else ''}",
            *("orchestrator.start", *(("--resume", str(run_dir)) if is_resumed else new)),
            cwd=EXAMPLE,
            PYTHONPATH=str(HOOK),
            KILL_AT=str(kill_at),
            KILL_RUN_DIR=f"{run_dir}/",
            KILL_COUNTER=str(self._folder / f"{run_dir.name}.points{'.again' if is_again else ''}"),
        )
        try:
            return program.wait(PATIENCE_S), program.output
        except AssertionError as error:
            return 1, str(error)
        finally:
            program.end()


def _final_model(run_dir: Path) -> bytes:
    return (run_dir / "checkpoints" / f"round-{ROUNDS:04d}.safetensors").read_bytes()


@click.command(help=__doc__)
@click.option("--kind", type=click.Choice(list(KINDS)), multiple=True, default=list(KINDS), show_default=True)
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Try one point of so many.")
@click.option("--at-once", type=click.IntRange(1), default=2, show_default=True, help="Runs at a time.")
def main(kind: tuple[str, ...], every: int, at_once: int) -> None:
    """Try the kinds, and end with code 1 if a run came out otherwise."""
    num_wrong = 0
    for each in kind:
        with tempfile.TemporaryDirectory(prefix="fl-kill-") as folder, ThreadPoolExecutor(at_once) as pool:
            study = Study(each, Path(folder))
            click.echo(f"{each}: {len(study.points)} points")
            numbers = range(1, len(study.points) + 1, every)
            for number, fault in zip(numbers, pool.map(study.kill_at, numbers), strict=True):
                if fault:
                    num_wrong += 1
                    click.echo(f"{each}, point {number}, before {study.points[number - 1]}: {fault}")
            click.echo(f"{each}: {study.num_killed} runs were killed")
    click.echo(f"{num_wrong} runs came out otherwise")
    sys.exit(num_wrong > 0)


if __name__ == "__main__":
    main()
