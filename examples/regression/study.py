"""Regression with metrics of its own: how far will diabetes have progressed in a year?"""

from sklearn.datasets import load_diabetes
from torch import nn

from celeriac import ClientData, Metric, TorchWorkload

X, Y = load_diabetes(return_X_y=True)
X, Y = X * 20, Y[:, None] / 100


class Study(TorchWorkload):
    known_metrics = {"r2": Metric(better="higher"), "mae": Metric(better="lower")}

    def build_model(self, context):
        return nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        return ClientData(train=(X[:250][mine], Y[:250][mine]), test=(X[250:340][mine], Y[250:340][mine]))

    def holdout_data(self, folder):
        return X[340:], Y[340:]

    def loss(self, outputs, targets):
        return nn.functional.mse_loss(outputs, targets)

    def measure(self, outputs, targets):
        errors = outputs - targets
        r2 = 1 - errors.square().mean() / targets.var(correction=0)
        return {"r2": r2, "mae": errors.abs().mean()}
