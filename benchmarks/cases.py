"""What is run: for each case the contenders, and how many complete rounds each, the first included."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contender import Case

ROUNDS: Mapping[Case, Mapping[str, int]] = {
    Case(2, 0.4): {
        "ours": 21, "ours-broker": 21, "ours-virtual": 21, "chord": 21, "floor": 21, "floor-tcp": 21,
        "flower-legacy": 21, "flower-superlink": 6, "flower-simulation": 21,
    },
    Case(8, 40): {
        "ours": 6, "ours-broker": 6, "ours-virtual": 6, "chord": 21, "floor": 6, "floor-tcp": 6,
        "flower-legacy": 6, "flower-superlink": 6, "flower-simulation": 6,
    },
    Case(8, 400): {
        "ours": 3, "ours-broker": 3, "ours-virtual": 3, "floor": 3, "floor-tcp": 3,
        "flower-legacy": 3, "flower-superlink": 2, "flower-simulation": 3,
    },
    Case(100, 0.4): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(100, 40): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(1_000, 0.4): {"ours-virtual": 6, "floor": 6, "flower-simulation": 6},
    Case(10_000, 0.4): {"ours-virtual": 3, "floor": 6, "flower-simulation": 2},
}  # fmt: skip
"""Medians are over all rounds but the first. There are five of these, and fewer where a run would take over some three
minutes."""
OTHER_ROUNDS = 6
"""In cases that are asked for and not in the table."""
MNIST_ROUNDS = 3
MNIST_SIZE = Case(10, 6.65)
"""A round's clients and the size of the CNN."""
