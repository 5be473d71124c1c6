"""Logistic regression with scikit-learn: is a tumour malignant or benign?"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale

from celeriac import ClientData, Evaluation, TrainResult, Workload

X, Y = load_breast_cancer(return_X_y=True)
X = scale(X)  # where clients have data of their own: by means and deviations that all of them know


class Study(Workload):
    def initial_parameters(self, context):
        return {"coef": np.zeros((1, 30)), "intercept": np.zeros(1)}

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        return ClientData(train=(X[:300][mine], Y[:300][mine]), test=(X[300:400][mine], Y[300:400][mine]))

    def holdout_data(self, folder):
        return X[400:], Y[400:]

    def train(self, parameters, data, context):
        x, y = data
        model, batches = model_with(parameters, context), context.batches(len(y))
        for rows in batches:
            model.partial_fit(x[rows], y[rows])
        trained = {"coef": model.coef_, "intercept": model.intercept_}
        return TrainResult(trained, len(y), batches.num_steps, batches.num_epochs)

    def evaluate(self, parameters, data, context):
        x, y = data
        model = model_with(parameters, context)
        return Evaluation(log_loss(y, model.predict_proba(x)), len(y), {"accuracy": model.score(x, y)})


def model_with(parameters, context):
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=context.options.learning_rate, shuffle=False)
    model.classes_ = np.array([0, 1])
    model.coef_, model.intercept_ = parameters["coef"].copy(), parameters["intercept"].copy()
    return model
