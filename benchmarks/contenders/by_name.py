"""The contenders by name: ways to carry out federated rounds, and floors to compare them with.

No program that a contender starts imports this module: some of what is here imports PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.contender import Contender
from benchmarks.contenders.chord import BareChord
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.flower import Flower, start_legacy, start_simulation, start_superlink
from benchmarks.contenders.mnist import FEDERATED, Loop
from benchmarks.contenders.ours import CONSTANT, Ours

VARIANTS: Mapping[str, Contender] = {
    "ours-scaffold": Ours(shared=True, options=("--algorithm", "scaffold")),
    "ours-norm": Ours(shared=True, options=("--verify", "norm")),
    "ours-int8": Ours(shared=True, options=("--compression", "int8")),
    "ours-faulty": Ours(
        shared=True,
        options=("--timeout", "2"),
        workload=f"{CONSTANT},hangs=client-050,fails=client-051",
        amiss={
            "client-050": "failed train() didn't end within 2 s",
            "client-051": "failed train(): RuntimeError",
        },
    ),
}
"""``ours-virtual`` with an option, or with clients that go wrong: what that costs."""
CONTENDERS: Mapping[str, Contender] = {
    "ours": Ours(),
    "ours-broker": Ours(tcp=True),
    "ours-virtual": Ours(shared=True),
    "ours-virtual-broker": Ours(tcp=True, shared=True),
    **VARIANTS,
    "chord": BareChord(),
    "floor": Floor(),
    "floor-tcp": Floor(tcp=True),
    "flower-legacy": Flower(start_legacy),
    "flower-superlink": Flower(start_superlink),
    "flower-simulation": Flower(start_simulation, in_ray=True),
    "ours-cnn": FEDERATED,
    "pytorch": Loop(),
}
"""In the order in which they are run and shown."""
