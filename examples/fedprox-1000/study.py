"""FedProx with 1,000 clients: few of them a round, and their inputs and numbers of examples differ."""

import numpy as np
from torch import nn

from celeriac import ClientData, TorchWorkload

RULE = np.random.default_rng(0).standard_normal((20, 10))


class Study(TorchWorkload):
    def build_model(self, context):
        return nn.Linear(20, 10)

    def client_data(self, source):
        return ClientData(train=examples(1 + source.part.index), test=examples(10_000 + source.part.index))

    def holdout_data(self, folder):
        clients = [examples(20_000 + client) for client in range(100)]
        return np.concatenate([x for x, _ in clients]), np.concatenate([y for _, y in clients])


def examples(seed):
    rng = np.random.default_rng(seed)
    centre, number = rng.normal(0, 0.5, 20), 10 + int(rng.lognormal(3, 1))  # each client's own
    x = rng.normal(centre, 1, (number, 20))
    return x, (x @ RULE).argmax(axis=1)
