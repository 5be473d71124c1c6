"""The contenders by name: ways to carry out federated rounds, and floors to compare them with."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contender import Contender
from benchmarks.contenders.chord import BareChord
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.flower import Flower, start_legacy, start_simulation, start_superlink
from benchmarks.contenders.ours import Ours

CONTENDERS: Mapping[str, Contender] = {
    "ours": Ours(),
    "ours-broker": Ours(tcp=True),
    "ours-virtual": Ours(shared=True),
    "chord": BareChord(),
    "floor": Floor(),
    "floor-tcp": Floor(tcp=True),
    "flower-legacy": Flower(start_legacy),
    "flower-superlink": Flower(start_superlink),
    "flower-simulation": Flower(start_simulation, in_ray=True),
}
"""In the order in which they are run and shown."""
