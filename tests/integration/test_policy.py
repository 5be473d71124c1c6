"""A round policy of a user's own, after its page alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from tests.integration.harness import ROOT, WORKLOADS, Field, history, part
from tests.integration.test_own_code import documented


def carry_out(
    field: Field, broker: Redis, folder: Path, policy: str, steps_s: Sequence[str], options: str = ""
) -> list[dict[str, Any]]:
    """Carry out two rounds by a policy of docs/rounds.md, with a client for each time that a step takes.

    The page's code is put into a folder outside the repo, where the run is started. Returns the records of the rounds.
    """
    (folder / "my_policy.py").write_text(documented("docs/rounds.md"))
    for number, step_s in enumerate(steps_s, start=1):
        field.client(broker, f"client-{number}", **part(number, len(steps_s)), STEP_S=step_s)
    options += f" --clients {len(steps_s)} --rounds 2 --policy my_policy:{policy} --no-evaluate-clients"
    path = f"{folder}:{WORKLOADS}:{ROOT}"
    field.run(folder / "run", options, broker=broker, cwd=folder, PYTHONPATH=path).succeeds()
    return history(folder / "run")


def test_a_policy_that_takes_the_first_two_updates_doesnt_wait_for_the_third(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given three clients of which one takes long
    # When a run is carried out with the page's policy that takes the first two
    first, second = carry_out(field, broker, tmp_path, "FirstTwo", steps_s=("0", "0", "2"))
    # Then each round is closed with two updates, and the record says of the third that it wasn't waited for
    for record in (first, second):
        assert record["status"] == "closed"
        responses = record["responses"]
        assert [responses[f"client-{number}"]["status"] for number in (1, 2)] == ["trained", "trained"]
    assert first["responses"]["client-3"]["status"] == "lost"
    assert first["responses"]["client-3"]["reason"] == "the round was closed without waiting for it (--policy)"


def test_a_policy_that_goes_by_the_last_round_gives_a_slow_client_three_medians(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given three clients of which two take a second and one takes ten
    # When a run is carried out with the page's other policy, whose first round gives all of them time enough
    steps_s = ("0.02", "0.02", "0.2")
    rounds = carry_out(field, broker, tmp_path, "ThreeMedians", steps_s, "--epochs 50")
    # Then the slow one is cut short in the second
    first, second = (record["responses"]["client-3"] for record in rounds)
    assert (first["status"], first["num_steps"]) == ("trained", 50)
    assert second["status"] == "timed_out"
    assert 0 < second["num_steps"] < 50
