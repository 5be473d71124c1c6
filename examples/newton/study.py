"""Newton's logistic regression: a round is a step on the pooled data, and clients send gradients and Hessians."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from celeriac import Algorithm, ClientData, Evaluation, Result, TrainResult, Workload

RIDGE = 1.0
X, Y = load_breast_cancer(return_X_y=True)
X = np.column_stack([scale(X), np.ones(len(X))])


class Study(Workload):
    def initial_parameters(self, context):
        return {"weights": np.zeros(31)}

    def results(self, context):
        return {"gradient": Result("sum", shape=(31,)), "hessian": Result("sum", shape=(31, 31))}

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        return ClientData(train=(X[mine], Y[mine]), test=(X[mine], Y[mine]))

    def train(self, parameters, data, context):
        x, y = data
        chances = 1 / (1 + np.exp(-x @ parameters["weights"]))
        sums = {"gradient": x.T @ (y - chances), "hessian": (x.T * chances * (1 - chances)) @ x}
        return TrainResult({}, len(y), results=sums)

    def evaluate(self, parameters, data, context):
        x, y = data
        return Evaluation(None, len(y), {"accuracy": np.mean((x @ parameters["weights"] > 0) == y)})


def step(server):
    weights, sums = server.parameters["weights"], server.results
    gradient, hessian = sums["gradient"] - RIDGE * weights, sums["hessian"] + RIDGE * np.eye(31)
    return {"weights": weights + np.linalg.solve(hessian, gradient)}, {}


NEWTON = Algorithm("newton", step=step, sends_parameters=False)
