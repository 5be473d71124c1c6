"""A user's own workload and selector, in a folder outside the repo, after the README alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, history, summary, url


def readme_blocks() -> list[str]:
    """The README's Python code, block by block."""
    return re.findall(r"```python\n(.*?)```", (harness.ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder outside the repo with what the README says to put there."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "my_study.py").write_text("\n\n".join(readme_blocks()))
    return folder


def test_the_workload_and_the_selector_of_the_readme_train(field: Field, study: Path) -> None:
    # Given the README's workload and selector in a folder outside the repo

    # When the README's command is run there
    program = field.start(
        "orchestrator", "orchestrator.start", "--clients", "3", "--workload", "my_study:MyStudy",
        "--select", "my_study:largest", "--fraction", "0.5", "--run-dir", "run", cwd=study,
    )  # fmt: skip

    # Then the model learns, and the selector chose two of the three, the first by id as they have as many examples
    assert program.wait() == 0, program.output
    assert summary(study / "run")["final"]["accuracy"] >= 0.9
    cohorts = [record["cohort"] for record in history(study / "run")]
    assert all(len(cohort) == 2 for cohort in cohorts)
    assert len({tuple(cohort) for cohort in cohorts}) == 1


def test_a_client_elsewhere_is_told_the_workload_in_its_environment(field: Field, study: Path, broker: Redis) -> None:
    # Given a broker, and two workers that are started in that folder
    for _ in range(2):
        field.start(
            "client", "celery", "-A", "worker", "worker", cwd=study, CELERY_BROKER_URL=url(broker),
            CLIENT_WORKLOAD="my_study:MyStudy", CLIENT_STATE=str(study / "state"),
        )  # fmt: skip

    # When the orchestrator is started there too
    program = field.start(
        "orchestrator", "orchestrator.start", "--broker", url(broker), "--workload", "my_study:MyStudy",
        "--rounds", "3", "--run-dir", "run", cwd=study,
    )  # fmt: skip

    # Then both train
    assert program.wait() == 0, program.output
    assert [len(record["cohort"]) for record in history(study / "run")] == [2, 2, 2]


def test_the_numpy_example_trains(field: Field, tmp_path: Path) -> None:
    # Given the example that is not torch

    # When it is run from its folder
    program = field.start(
        "orchestrator", "orchestrator.start", "--workload", "softmax:Softmax", "--rounds", "3",
        "--run-dir", str(tmp_path / "run"), cwd=harness.ROOT / "examples" / "numpy_softmax",
    )  # fmt: skip

    # Then it learns
    assert program.wait() == 0, program.output
    assert summary(tmp_path / "run")["final"]["accuracy"] >= 0.9
