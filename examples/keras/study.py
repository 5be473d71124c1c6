"""A net in Keras, on JAX: from which grapes is a wine?"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from sklearn.utils import shuffle

from celeriac import ClientData, Evaluation, TrainResult, Workload

X, Y = shuffle(*load_wine(return_X_y=True), random_state=0)
X = scale(X)  # where clients have data of their own: by means and deviations that all of them know


class Study(Workload):
    def __init__(self):
        hidden, output = keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")
        self.model = keras.Sequential([keras.Input((13,)), hidden, output])
        self.model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    def initial_parameters(self, context):
        keras.utils.set_random_seed(context.seed)
        return parameters_of(keras.models.clone_model(self.model))

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        return ClientData(train=(X[:100][mine], Y[:100][mine]), test=(X[100:130][mine], Y[100:130][mine]))

    def holdout_data(self, folder):
        return X[130:], Y[130:]

    def train(self, parameters, data, context):
        x, y = data
        self.model.set_weights(list(parameters.values()))
        self.model.optimizer.learning_rate = context.options.learning_rate
        batches = context.batches(len(y))
        for rows in batches:
            self.model.train_on_batch(x[rows], y[rows])
        return TrainResult(parameters_of(self.model), len(y), batches.num_steps, batches.num_epochs)

    def evaluate(self, parameters, data, context):
        self.model.set_weights(list(parameters.values()))
        loss, accuracy = self.model.evaluate(*data, verbose=0)
        return Evaluation(loss, len(data[1]), {"accuracy": accuracy})


def parameters_of(model):
    return {f"weights-{place}": weights for place, weights in enumerate(model.get_weights())}
