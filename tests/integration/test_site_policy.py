"""A site with a policy of its own takes part in a run."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration.harness import Field, history, part, wait_until

ALLOWED = """
orders = ["train", "evaluate", "disconnect"]
algorithms = ["fedavg"]
max_epochs = {max_epochs}
"""


def test_a_site_refuses_what_its_policy_forbids_until_its_owner_allows_it(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run of five epochs, a client without a policy, and one whose site allows two
    policy, run_dir = tmp_path / "policy.toml", tmp_path / "run"
    policy.write_text(ALLOWED.format(max_epochs=2))
    program = field.run(run_dir, "--rounds 6 --clients 2 --epochs 5", broker=broker)
    field.client(broker, "client-1", **part(1, 2), STEP_S="0.1")
    strict = field.client(broker, "client-2", **part(2, 2), CLIENT_POLICY=str(policy))

    # When the site's owner allows five once an order was refused
    refused = "refused by the site: its policy has max_epochs = 2, and the order asks for 5"
    wait_until(lambda: refused in program.output, "the order is refused")
    policy.write_text(ALLOWED.format(max_epochs=5))

    # Then the client trains from then on; both sides have the refusal, and no metric was told
    program.succeeds()
    answers = [record["responses"]["client-2"] for record in history(run_dir)]
    assert (answers[0]["status"], answers[0]["reason"]) == ("failed", refused)
    assert answers[-1]["status"] == "trained"
    assert not any(answer.get("metrics") for answer in answers)
    assert "refused by this site's policy: max_epochs = 2" in strict.output
    # And both sides were warned, as nobody is enrolled
    assert "who reaches the broker can give this client orders" in strict.output
    assert "who reaches the broker can read and change the run" in program.output
