"""Rounds with more updates than may be on their way at once give the same models as others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.harness import EXAMPLE, Field, history, summary


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "mime"])
def test_a_crowded_round_of_the_numpy_example_gives_the_same_model_to_the_last_bit(
    field: Field, tmp_path: Path, algorithm: str
) -> None:
    # Given twenty clients, and room for all of their updates or for the fewest that there can be room for
    digests = []
    for in_flight_mb in ("64", "0.0001"):
        run_dir = tmp_path / f"run-{in_flight_mb}"
        options = f"--clients 20 --rounds 3 --learning-rate 0.5 --algorithm {algorithm} --in-flight-mb {in_flight_mb}"
        # When they train the example that does without torch, run from its folder
        field.run(run_dir, options, "--no-evaluate-clients", workload="study:Study", cwd=EXAMPLE).succeeds()
        records = history(run_dir)
        assert all(response["status"] == "trained" for record in records for response in record["responses"].values())
        assert summary(run_dir)["final"]["accuracy"] >= 0.9
        digests.append([(record["digest"], record["state_digest"]) for record in records])
        # Then nothing of what they sent each other is left
        assert not (run_dir / "blobs").exists()
        assert not (run_dir / "updates").exists()
    # And the models are equal, and SCAFFOLD's control variates, and Mime's momentum
    assert digests[0] == digests[1]
