"""FedProx: a proximal term holds the clients near the global model.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks, MLSys 2020
(https://arxiv.org/abs/1812.06127), Algorithm 2: client k minimises, inexactly, h_k(w; w^t) = F_k(w) + mu/2 |w - w^t|²
(equation 2), as far as its time allows. With mu = 0 it is FedAvg. The mean is weighted by examples, as in the authors'
code: the paper samples clients by their examples and averages equally, which has the same expectation.
"""

from __future__ import annotations

import numpy as np

from celeriac.algorithms import Algorithm, LocalResult, LocalTask
from tasks.arrays import Arrays
from tasks.workload import Step


def local(task: LocalTask) -> LocalResult:
    """Train along grad F_k(w) + mu (w - w^t)."""
    start = task.parameters
    mu = np.float32(task.settings["mu"])

    def direction(step: Step) -> Arrays:
        return {
            name: gradient + mu.astype(gradient.dtype) * (step.parameters[name] - start[name])
            for name, gradient in step.gradients.items()
        }

    return LocalResult(task.train(direction))


FEDPROX = Algorithm(name="fedprox", local=local, settings={"mu": 0.01}, needs=("train_along",))
