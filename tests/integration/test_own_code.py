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


def test_an_algorithm_of_ones_own_after_its_page_alone_trains(field: Field, tmp_path: Path) -> None:
    # Given what docs/algorithms.md says to put into a folder outside the repo
    page = (harness.ROOT / "docs" / "algorithms.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_algorithm.py").write_text(block)

    # When the page's command is run there
    program = field.start(
        "orchestrator", "orchestrator.start", "--clients", "3", "--algorithm", "my_algorithm:CLIPPED",
        "--set", "clip=0.5", "--rounds", "4", "--run-dir", "run", cwd=tmp_path,
    )  # fmt: skip

    # Then clients and orchestrator carry it out
    assert program.wait() == 0, program.output
    records = history(tmp_path / "run")
    assert [{answer["status"] for answer in record["answers"].values()} for record in records] == [{"trained"}] * 4
    assert records[-1]["metrics"]["accuracy"] > records[0]["metrics"]["accuracy"]
    assert records[-1]["state_digest"]


def test_a_client_elsewhere_carries_out_no_algorithm_that_its_operator_has_not_named(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given two clients with the file in their folder, of which one was told that it may carry it out
    page = (harness.ROOT / "docs" / "algorithms.md").read_text()
    (tmp_path / "my_algorithm.py").write_text(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0])
    spec = "my_algorithm:CLIPPED"
    field.client(broker, "client-1", CLIENT_WORKLOAD="digits", CLIENT_ALGORITHM=spec, cwd=tmp_path)
    field.client(broker, "client-2", CLIENT_WORKLOAD="digits", cwd=tmp_path)

    # When a run asks for it
    program = field.orchestrator(
        "--broker", url(broker), "--algorithm", spec, "--rounds", "1", "--run-dir", str(tmp_path / "run"),
        workload="digits", cwd=tmp_path,
    )  # fmt: skip

    # Then the one trains, and the other says what is to be set
    assert program.wait() == 0, program.output
    answers = history(tmp_path / "run")[0]["answers"]
    assert answers["client-1"]["status"] == "trained"
    assert answers["client-2"]["status"] == "failed"
    assert f"set CLIENT_ALGORITHM={spec}" in answers["client-2"]["reason"]


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "mime"])
def test_the_numpy_example_trains(field: Field, tmp_path: Path, algorithm: str) -> None:
    # Given the example that is not torch

    # When it is run from its folder
    program = field.start(
        "orchestrator", "orchestrator.start", "--workload", "softmax:Softmax", "--rounds", "3",
        "--algorithm", algorithm, "--learning-rate", "0.5",
        "--run-dir", str(tmp_path / "run"), cwd=harness.ROOT / "examples" / "numpy_softmax",
    )  # fmt: skip

    # Then it learns
    assert program.wait() == 0, program.output
    assert summary(tmp_path / "run")["final"]["accuracy"] >= 0.9
