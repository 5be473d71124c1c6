"""Every net through a round of the whole flow, on a handful of images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from celeriac import federate, load_model
from celeriac.workloads.examples import Examples
from celeriac.workloads.image_workload import LabelledImages
from celeriac.workloads.nets import NETS
from celeriac.workloads.nets.net import ImageShape
from tasks.context import Context
from tasks.workload import ClientData, DataSource

CHOSEN = {"resnet18": "resnet18:group", "resnet50": "resnet50:batch", "vgg16": "vgg16:group"}
SPECS = [CHOSEN.get(net, net) for net in NETS]


class Few(LabelledImages):
    """Two images to train on, and one to test on, for everybody."""

    num_classes = 5

    def client_data(self, source: DataSource) -> ClientData:
        return ClientData(self.images(2), self.images(1))

    def holdout_data(self, folder: Path | None) -> Examples:
        return self.images(1)

    def images(self, number: int) -> Examples:
        inputs = np.random.default_rng(number).random((number, *self.image_shape), dtype=np.float32)
        return Examples(inputs, np.arange(number) % self.num_classes)


class Grey(Few):
    image_shape: ClassVar[ImageShape] = (1, 28, 28)


class Colour(Few):
    image_shape: ClassVar[ImageShape] = (3, 32, 32)


@pytest.mark.parametrize(("spec", "kind"), [(spec, (Grey, Colour)[index % 2]) for index, spec in enumerate(SPECS)])
def test_a_net_trains_a_round(spec: str, kind: type[Few]) -> None:
    # Given a client with two images, when it trains a net for a step
    run = federate(kind(net=spec), clients=1, rounds=1, max_steps=1, batch_size=2, backend="eager")
    # Then there is another model, of finite numbers, and it was evaluated
    before, after = load_model(run, 0), load_model(run, 1)
    assert run.status == "completed"
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert all(np.isfinite(values).all() for values in after.values())
    [record] = run
    assert np.isfinite(record.metrics["loss"])
    # And of what isn't trained, batches' statistics alone have moved
    statistics = kind(net=spec).buffer_names(Context())
    assert bool(statistics) == spec.endswith(":batch")
    assert all(not np.array_equal(before[name], after[name]) for name in statistics)
