"""A user's own workload and selector, in a folder outside the repo, after the README alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.harness import EXAMPLE, ROOT, Field, evaluations, history, summary, url


def documented(page: str) -> str:
    """The Python code of a page, block by block."""
    return "\n\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder outside the repo with what the README says to put there."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "my_study.py").write_text(documented("README.md"))
    return folder


def test_the_workload_and_the_selector_of_the_readme_train(field: Field, study: Path) -> None:
    # Given the README's workload and selector in a folder outside the repo

    # When the README's command is run there
    options = "--clients 3 --select my_study:largest --fraction 0.5"
    field.run("run", options, workload="my_study:MyStudy", cwd=study).succeeds()

    # Then the model learns, and the selector chose two of the three, the first by id as they have as many examples
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
    field.run("run", "--rounds 3", broker=broker, workload="my_study:MyStudy", cwd=study).succeeds()

    # Then both train
    assert [len(record["cohort"]) for record in history(study / "run")] == [2, 2, 2]


def test_an_algorithm_of_ones_own_after_its_page_alone_trains(field: Field, tmp_path: Path) -> None:
    # Given what docs/algorithms.md says to put into a folder outside the repo
    (tmp_path / "my_algorithm.py").write_text(documented("docs/algorithms.md"))

    # When the page's command is run there
    options = "--clients 3 --algorithm my_algorithm:CLIPPED --set clip=0.5 --rounds 4"
    field.run("run", options, workload=None, cwd=tmp_path).succeeds()

    # Then clients and orchestrator carry it out
    records = history(tmp_path / "run")
    assert [{response["status"] for response in record["responses"].values()} for record in records] == [
        {"trained"}
    ] * 4
    accuracies = [line["metrics"]["accuracy"] for line in evaluations(tmp_path / "run")]
    assert accuracies[-1] > accuracies[0]
    assert records[-1]["state_digest"]


def test_a_study_with_metrics_of_its_own_ends_as_its_page_says(field: Field, tmp_path: Path) -> None:
    # Given what docs/metrics.md says to put into a folder outside the repo
    (tmp_path / "my_study.py").write_text(documented("docs/metrics.md"))

    # When the page's command is run there, with the checkpoints of the best model alone
    options = "--rounds 50 --stop-when r2>=0.98 --keep-best 1"
    field.run("run", options, workload="my_study:Heights", cwd=tmp_path).succeeds()

    # Then it ends with the first round that has it, and keeps that model beside the initial one
    rounds = [line["metrics"]["r2"] for line in evaluations(tmp_path / "run")]
    assert [r2 >= 0.98 for r2 in rounds] == [False] * (len(rounds) - 1) + [True]
    assert len(rounds) == len(history(tmp_path / "run")) < 50
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["round-0000.safetensors", f"round-{len(rounds):04d}.safetensors"]
    assert summary(tmp_path / "run")["best_round"] == len(rounds)


@pytest.mark.parametrize(
    ("kind", "spec", "page", "workload"),
    [
        ("algorithm", "my_algorithm:CLIPPED", "docs/algorithms.md", "digits"),
        ("compression", "my_compression:half", "docs/compression.md", "study:Study"),
    ],
)
def test_a_client_elsewhere_carries_out_nothing_that_its_operator_has_not_named(
    field: Field, broker: Redis, tmp_path: Path, kind: str, spec: str, page: str, workload: str
) -> None:
    # Given the code of a page, where the docs say; a client whose operator has named it, and another
    (tmp_path / f"my_{kind}.py").write_text(documented(page))
    settings = {"CLIENT_WORKLOAD": workload, "PYTHONPATH": f"{EXAMPLE}:{ROOT}"}
    field.client(broker, "client-1", **settings, **{f"CLIENT_{kind.upper()}": spec}, cwd=tmp_path)
    field.client(broker, "client-2", **settings, cwd=tmp_path)

    # When a run asks for it
    options, paths = f"--{kind} {spec} --rounds 1", settings["PYTHONPATH"]
    field.run("run", options, broker=broker, workload=workload, cwd=tmp_path, PYTHONPATH=paths).succeeds()

    # Then the one trains, and the other says what is to be set
    responses = history(tmp_path / "run")[0]["responses"]
    assert responses["client-1"]["status"] == "trained"
    assert responses["client-2"]["status"] == "failed"
    assert f"set CLIENT_{kind.upper()}={spec}" in responses["client-2"]["reason"]
