from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest

from celeriac.algorithms import load_algorithm
from celeriac.compressors import load_compressor
from celeriac.compressors.updates import packed_spec
from orchestrator.store.updates import most_of_client
from tasks import arrays, auxiliary

SERVERS_SHARE = 1.25
"""What a server keeps for a chunk of 2 MiB, as a share of its length."""
MODELS = {
    "half as wide as its sets": {f"layer-{i}": np.zeros(10**6, ml_dtypes.bfloat16) for i in range(4)},
    "of small arrays": {f"layer.{i:05d}.weight": np.zeros(10, np.float32) for i in range(10_000)},
    "of float32": {"layer": np.zeros(10**6, np.float32)},
}


@pytest.mark.parametrize("shape", MODELS)
@pytest.mark.parametrize(("algorithm", "compression"), [*product(["fedavg", "scaffold"], ["none", "int8"])])
def test_a_client_may_have_two_whole_updates_at_the_broker(shape: str, algorithm: str, compression: str) -> None:
    # Given an algorithm that sends sets with a model
    model, sets = MODELS[shape], load_algorithm(algorithm).sent
    spec = dict(sorted(arrays.spec_of(auxiliary.join(model, auxiliary.widened(dict.fromkeys(sets, model)))).items()))
    compressor = load_compressor(compression)
    update_bytes = arrays.encoded_size(packed_spec(compressor, spec) if compressor else spec)
    # Then one update that is late and one that is on its way are no reason to expel the client
    model_bytes = arrays.encoded_size(arrays.spec_of(model))
    assert most_of_client(model_bytes, len(sets), 0) > 2 * SERVERS_SHARE * update_bytes
