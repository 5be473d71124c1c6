"""XGBoost bagging: each client grows a tree on the forest so far, and sends that tree alone."""

import json

import numpy as np
import xgboost as xgb
from sklearn.datasets import load_breast_cancer

from celeriac import Algorithm, ClientData, Evaluation, Result, TrainResult, Workload

SETTINGS = {"objective": "binary:logistic", "base_score": 0.5, "max_depth": 4, "nthread": 1}
X, Y = load_breast_cancer(return_X_y=True)


def booster(parameters):
    """Put the trees, each of which is a line of JSON, into a booster that has none."""
    empty = xgb.train(SETTINGS, xgb.DMatrix(X[:1], Y[:1]), num_boost_round=0)
    model = json.loads(empty.save_raw("json"))
    trees = [json.loads(line) for line in parameters["trees"].tobytes().splitlines()]
    forest = model["learner"]["gradient_booster"]["model"]
    forest["trees"] = [{**tree, "id": number} for number, tree in enumerate(trees)]
    forest["tree_info"] = [0] * len(trees)
    forest["iteration_indptr"] = list(range(len(trees) + 1))
    forest["gbtree_model_param"]["num_trees"] = str(len(trees))
    return xgb.Booster(SETTINGS, model_file=bytearray(json.dumps(model), "utf-8"))


class Study(Workload):
    def initial_parameters(self, context):
        return {"trees": np.zeros(0, np.uint8)}

    def results(self, context):
        return {"trees": Result("concat", shape=(None,), dtype="uint8", max_bytes=20_000)}

    def client_data(self, source):
        mine = slice(source.part.index, 400, source.part.count)
        return ClientData(xgb.DMatrix(X[mine], Y[mine]), test=None, num_train=len(Y[mine]))

    def holdout_data(self, folder):
        return X[400:], Y[400:]

    def train(self, parameters, data, context):
        settings = {**SETTINGS, "eta": 1 / context.cohort_size}
        grown = xgb.train(settings, data, num_boost_round=1, xgb_model=booster(parameters))
        tree = json.loads(grown.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"][-1]
        line = json.dumps(tree, separators=(",", ":")) + "\n"
        return TrainResult({}, data.num_row(), results={"trees": np.frombuffer(line.encode(), np.uint8)})

    def evaluate(self, parameters, data, context):
        x, y = data
        chances = booster(parameters).predict(xgb.DMatrix(x))
        return Evaluation(None, len(y), {"accuracy": np.mean((chances > 0.5) == y)})


def step(server):
    return {"trees": np.concatenate([server.parameters["trees"], server.results["trees"]])}, {}


BAGGING = Algorithm("bagging", step=step, sends_parameters=False, grows=True)
