"""A round policy of a user's own, after its page alone."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration.harness import ROOT, WORKLOADS, Field, history, part
from tests.integration.test_own_code import documented


def test_a_policy_that_takes_the_first_two_updates_doesnt_wait_for_the_third(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given what docs/rounds.md says to put into a folder outside the repo, and three clients of which one takes long
    (tmp_path / "my_policy.py").write_text(documented("docs/rounds.md"))
    for number, step_s in enumerate(("0", "0", "2"), start=1):
        field.client(broker, f"client-{number}", **part(number, 3), STEP_S=step_s)
    # When a run with that policy is carried out
    options = "--clients 3 --rounds 2 --policy my_policy:FirstTwo --no-evaluate-clients"
    path = f"{tmp_path}:{WORKLOADS}:{ROOT}"
    program = field.run(tmp_path / "run", options, broker=broker, cwd=tmp_path, PYTHONPATH=path)
    program.succeeds()
    # Then each round is closed with two updates, and the record says of the third that it wasn't waited for
    first, second = history(tmp_path / "run")
    for record in (first, second):
        assert record["status"] == "closed"
        responses = record["responses"]
        assert [responses[f"client-{number}"]["status"] for number in (1, 2)] == ["trained", "trained"]
    assert first["responses"]["client-3"]["status"] == "lost"
    assert first["responses"]["client-3"]["reason"] == "the round was closed without waiting for it (--policy)"


def test_a_policy_that_goes_by_the_last_round_gives_a_slow_client_three_medians(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given the page's other policy, and three clients of which two take a second and one takes ten
    (tmp_path / "my_policy.py").write_text(documented("docs/rounds.md"))
    for number, step_s in enumerate(("0.02", "0.02", "0.2"), start=1):
        field.client(broker, f"client-{number}", **part(number, 3), STEP_S=step_s)
    # When a run with that policy is carried out, whose first round gives all of them time enough
    options = "--clients 3 --rounds 2 --epochs 50 --policy my_policy:ThreeMedians --no-evaluate-clients"
    path = f"{tmp_path}:{WORKLOADS}:{ROOT}"
    field.run(tmp_path / "run", options, broker=broker, cwd=tmp_path, PYTHONPATH=path).succeeds()
    # Then the slow one is cut short in the second
    first, second = (record["responses"]["client-3"] for record in history(tmp_path / "run"))
    assert (first["status"], first["num_steps"]) == ("trained", 50)
    assert second["status"] == "timed_out"
    assert 0 < second["num_steps"] < 50
