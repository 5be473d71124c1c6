"""Verification with real processes: scorers, thresholds, the clients' own judgement, and what the record says of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, Program, evaluations, history, part, wait_until

JUDGED = "hostile:Judged"


def start(field: Field, broker: Redis, run_dir: Path, *options: str, num_clients: int) -> Program:
    """Start an orchestrator that waits for this many clients."""
    usual = f"--clients {num_clients} --no-evaluate-clients"
    return field.run(run_dir, usual, *options, broker=broker, workload=JUDGED)


def join(field: Field, broker: Redis, number: int, count: int, **environment: str) -> Program:
    """Start client ``number`` of ``count``."""
    settings = {"CLIENT_WORKLOAD": JUDGED, **part(number, count), **environment}
    return field.client(broker, f"client-{number}", **settings)


def by_client(record: dict[str, Any], name: str) -> dict[str, Any]:
    """What a round's record says under ``name`` of each client."""
    return {client_id: response[name] for client_id, response in record["responses"].items()}


def test_peers_score_the_right_update_nobody_its_own_and_the_hostile_is_dropped(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given four clients of which the last is hostile, and the first takes longest to score
    run_dir = tmp_path / "run"
    for number in range(1, 5):
        join(field, broker, number, 4, HOSTILE="4", VERIFY_S=str(0.4 - 0.1 * number))

    # When they verify each other
    program = start(field, broker, run_dir, "--rounds", "3", "--verify", "peers", num_clients=4)
    program.succeeds()

    records = history(run_dir)
    for record in records:
        # Then each update has the score that its own values give, whoever gave it and whenever it came
        scores = {client_id: found["peers"] for client_id, found in by_client(record, "scores").items()}
        assert scores == pytest.approx({"client-1": 0.91, "client-2": 0.92, "client-3": 0.93, "client-4": 0.0})

        # And each client of the cohort scored one update, none its own
        scored_by = {client_id: found["peers"] for client_id, found in by_client(record, "scored_by").items()}
        assert sorted(scored_by.values()) == record["cohort"] == sorted(scored_by)
        assert all(client_id != verifier_id for client_id, verifier_id in scored_by.items())

        # And the hostile update is dropped, with the reason
        assert by_client(record, "status") == dict.fromkeys(record["cohort"], "trained") | {"client-4": "rejected"}
        assert record["responses"]["client-4"]["reason"] == "peers: 0 is not within the threshold median*0.9"
    # And the model is the mean of 0.91, 0.92 and 0.93, weighted 10, 20 and 30: 55.4 / 60
    assert [line["metrics"]["accuracy"] for line in evaluations(run_dir)] == [pytest.approx(55.4 / 60)] * len(records)
    # And who scores whom differs from round to round
    pairs = [tuple(found["peers"] for found in by_client(record, "scored_by").values()) for record in records]
    assert len(set(pairs)) > 1


def killed_while_it_verifies(field: Field, broker: Redis, run_dir: Path, num_clients: int) -> dict[str, Any]:
    """The record of a round whose client-1 was killed while it scored another's update."""
    frozen = join(field, broker, 1, num_clients, VERIFY_S="100")
    for number in range(2, num_clients + 1):
        join(field, broker, number, num_clients)
    program = start(field, broker, run_dir, "--rounds", "1", "--verify", "peers", num_clients=num_clients)
    wait_until(lambda: "/verify-1: begun" in frozen.output, "client-1 verifies")
    frozen.end()
    program.succeeds()
    [record] = history(run_dir)
    return record


def test_what_a_verifier_that_is_killed_was_to_score_is_scored_by_another(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given three clients, when one is killed while it scores
    record = killed_while_it_verifies(field, broker, tmp_path / "run", num_clients=3)

    # Then all updates are scored, by the other two, nobody its own; that of the killed counts as well
    scored_by = {client_id: found["peers"] for client_id, found in by_client(record, "scored_by").items()}
    assert scored_by["client-1"] in {"client-2", "client-3"}
    assert (scored_by["client-2"], scored_by["client-3"]) == ("client-3", "client-2")
    assert set(by_client(record, "status").values()) == {"trained"}


def test_an_update_that_nobody_is_left_to_score_is_not_taken(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given two clients, when one is killed while it scores the other's
    record = killed_while_it_verifies(field, broker, tmp_path / "run", num_clients=2)

    # Then nobody but itself could score the other's update: it is rejected, while that of the killed was scored
    assert by_client(record, "status") == {"client-1": "trained", "client-2": "rejected"}
    assert record["responses"]["client-2"]["reason"] == "peers: nobody scored it"
    assert record["responses"]["client-2"]["scores"] == {}
    assert record["responses"]["client-1"]["scored_by"] == {"peers": "client-2"}


def documented() -> str:
    """The Python code of docs/verification.md."""
    page = (harness.ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    return "\n\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))


ALL_BUT_THE_FIRST = '''

def all_but_the_first(clients, selection):
    """Leave out the client that connected first."""
    return sorted(client.client_id for client in clients)[1:]
'''


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside the repo with the scorer and the threshold of the docs, a selector, and a workload."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "my_scorer.py").write_text(documented() + ALL_BUT_THE_FIRST, encoding="utf-8")
    for name in ("pulled.py", "hostile.py"):
        shutil.copy(harness.WORKLOADS / name, folder / name)
    return folder


@pytest.mark.parametrize("threshold", ["0.5", "my_scorer:keep"])
def test_a_scorer_a_selector_and_a_threshold_of_ones_own_are_used(
    field: Field, elsewhere: Path, threshold: str
) -> None:
    # Given the scorer and the threshold of the docs in a folder outside the repo, and four clients, the last hostile

    # When they are named in a command that is run there
    options = "--clients 4 --rounds 2 --select my_scorer:all_but_the_first --fraction 0.75 --no-evaluate-clients"
    judging = f"--verify my_scorer:score --threshold {threshold}"
    program = field.run("run", options, judging, workload=JUDGED, cwd=elsewhere, HOSTILE="4")

    # Then the selector chose, the scorer scored, and the threshold dropped the hostile one
    program.succeeds()
    for record in history(elsewhere / "run"):
        assert by_client(record, "status") == {"client-2": "trained", "client-3": "trained", "client-4": "rejected"}
        hostile = record["responses"]["client-4"]
        assert hostile["reason"].startswith("my_scorer:score: -0.")
        assert hostile["reason"].endswith(f" is not within the threshold {threshold}")
        assert hostile["scored_by"] == {"my_scorer:score": "@orchestrator"}
        # Accuracy 0.92; sent are ten elements of 0.92 instead of those of a random start, or of the last mean
        assert 0.85 < record["responses"]["client-2"]["scores"]["my_scorer:score"] <= 0.92
