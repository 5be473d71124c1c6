"""McMahan's CNN on MNIST: rounds of ten of a hundred clients, federated, and by a loop that does the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.contender import Case, DidNotCompleteError, Limit, Outcome
from benchmarks.contenders.ours import ROLES, history, num_lines, opened_at
from benchmarks.contenders.programs import programs
from benchmarks.sampling import Sampler
from tasks.cores import num_cores

NUM_CLIENTS = 100
COHORT = 10
BATCH_SIZE = 10
LEARNING_RATE = 0.1
WORKLOAD = "mnist,net=cnn,test-share=0"
LEAST_ACCURACY = 0.8
"""With less than this after three rounds something is wrong; both are above 0.9."""


@dataclass(frozen=True, slots=True)
class Federated:
    """This project with nothing but options, so one worker serves all clients.

    Attributes:
        data: Folder with MNIST's files.
    """

    data: Path

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds; the time of all of them is from the first's opening to the last's end."""
        run_dir = folder / "run"
        with programs(folder) as started, Sampler(ROLES) as sampler:
            started.python(
                "orchestrator", "orchestrator.start", "--broker", "embedded", "--clients", str(NUM_CLIENTS),
                "--fraction", str(COHORT / NUM_CLIENTS), "--workload", WORKLOAD, "--data", str(self.data.absolute()),
                "--rounds", str(num_rounds), "--epochs", "1", "--batch-size", str(BATCH_SIZE),
                "--learning-rate", str(LEARNING_RATE), "--no-evaluate-clients", "--run-dir", str(run_dir),
            )  # fmt: skip
            started.wait_until(lambda: num_lines(run_dir / "history.jsonl") == num_rounds, limit)
        records = history(run_dir)
        over = opened_at(records[-1]) + records[-1]["duration_s"]
        _check(records[-1]["metrics"]["accuracy"])
        marks = [*map(opened_at, records), over]
        return sampler.outcome(marks, over, num_rounds)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop in bare PyTorch: as many processes as there are cores, with a thread each, train ten clients a round.

    Attributes:
        data: Folder with MNIST's files.
    """

    data: Path

    def run(self, case: Case, num_rounds: int, folder: Path, limit: Limit) -> Outcome:
        """Carry out the rounds."""
        result = folder / "result.json"
        with programs(folder) as started:
            arguments = (str(self.data.absolute()), str(num_cores()), str(num_rounds), str(result))
            started.python("loop", "benchmarks.contenders.mnist_loop", *arguments, OMP_NUM_THREADS="1")
            found = started.wait_for_json(result, limit)
        _check(found["accuracy"])
        return Outcome(rounds_s=[round(after - before, 6) for before, after in pairwise(found["marks"])])


def _check(accuracy: float) -> None:
    if accuracy < LEAST_ACCURACY:
        raise DidNotCompleteError(f"the final model's accuracy is {accuracy:.3f}")
