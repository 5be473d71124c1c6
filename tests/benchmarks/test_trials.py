"""A trial is a whole federation, and what the studies need beside it is as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.niid_bench import net, one_label
from benchmarks.trials import Trial, run_trial


def test_a_trial_ends_after_the_round_that_reaches_its_target(tmp_path: Path) -> None:
    # Given a federation whose accuracy will soon be over a half
    trial = Trial(dataset="digits", net="mlp", num_clients=2, fraction=1.0, learning_rate=0.3, rounds=30, target=0.5)

    # When it is carried out
    outcome = run_trial(trial, tmp_path)

    # Then the last accuracy alone is
    assert 1 <= len(outcome.accuracies) < 30
    assert outcome.first_round(0.5) == len(outcome.accuracies)


def test_the_net_of_niid_bench_has_as_many_parameters_as_its_layers() -> None:
    layers = [6 * 25 + 6, 16 * 6 * 25 + 16, 256 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert sum(parameter.numel() for parameter in net((1, 28, 28), 10).parameters()) == sum(layers) == 44_426


def test_each_part_of_the_one_label_split_has_all_of_one_label() -> None:
    parts = one_label("")(np.array([2, 0, 1, 0, 2]), 3, 0)
    assert [part.tolist() for part in parts] == [[1, 3], [2], [0, 4]]
