"""The code of docs/pytorch.md, trained by clients in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.federate.in_memory import Participant, simulate
from tasks.context import Context
from tasks.messages import TrainOptions
from tasks.workload import Part, Workload
from tests.integration.test_own_code import documented
from tests.support import run_config


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's code defines, in a module in the current folder."""
    (tmp_path / "my_study.py").write_text(documented("docs/pytorch.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found: dict[str, Any] = {}
    exec(documented("docs/pytorch.md"), found)
    return found


@pytest.mark.parametrize(
    ("study", "algorithm"), [("MyStudy", "fedavg"), ("OwnSteps", "scaffold"), ("OwnSteps", "mime")]
)
def test_the_page_s_studies_learn(tmp_path: Path, page: dict[str, Any], study: str, algorithm: str) -> None:
    # Given two clients with a study of the page
    config = run_config(
        workload=f"my_study:{study}", algorithm=algorithm, num_clients=2, rounds=5, options=TrainOptions(epochs=5)
    )
    workloads: list[Workload] = [page[study](), page[study]()]
    clients = {f"client-{index}": Participant(Part(index, 2), each) for index, each in enumerate(workloads)}
    # When they train, then the model learns
    history = simulate(config, clients, tmp_path, lambda _: None).history()
    assert [record.status for record in history] == ["closed"] * 5
    assert history[-1].metrics["accuracy"] > 0.8
    assert set(history[-1].metrics) == {"loss", "accuracy"}


def test_the_page_s_first_study_is_refused_where_its_optimiser_does_not_fit(page: dict[str, Any]) -> None:
    # Given the study with momentum and clipping, when its optimiser is asked for, then it is told by both
    assert page["MyStudy"]().optimizer_name(Context()) == "SGD with momentum=0.9, clip_norm=5.0"
