"""Image classification with PyTorch: a convolutional net and its training step, on scikit-learn's digits."""

from sklearn.datasets import load_digits
from torch import nn

from celeriac import ClientData, TorchWorkload

IMAGES, DIGITS = load_digits().images[:, None] / 16, load_digits().target


class Study(TorchWorkload):
    def build_model(self, context):
        convolution = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(convolution, nn.Flatten(), nn.Linear(144, 10))

    def client_data(self, source):
        mine = slice(source.part.index, None, source.part.count)
        train, test = (IMAGES[:1200][mine], DIGITS[:1200][mine]), (IMAGES[1200:1500][mine], DIGITS[1200:1500][mine])
        return ClientData(train, test)

    def holdout_data(self, folder):
        return IMAGES[1500:], DIGITS[1500:]

    def training_step(self, model, batch, context):
        images, digits = batch
        return nn.functional.cross_entropy(model(images), digits, label_smoothing=0.1)

    def validation_step(self, model, batch, context):
        images, digits = batch
        logits = model(images)
        right = logits.argmax(dim=1) == digits
        return {"loss": nn.functional.cross_entropy(logits, digits), "accuracy": right.float().mean()}
