"""A workload for tests of a site's policy: the run may choose, by its settings, to have rows returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pulled import Pulled

from celeriac import Result
from tasks.workload import TrainResult


class Study(Pulled):  # type: ignore[misc]  # beside this file when a client imports it, not where mypy looks
    """Fifty examples, of which a column ``age`` has a person of 99."""

    run_config: ClassVar = {"rows": False, "field": "age"}

    def results(self, context: Any) -> Mapping[str, Result]:
        return {"ages": Result("concat", shape=(None,))} if context.run_config["rows"] else {}

    def columns(self, data: Any) -> Mapping[str, Any]:
        return {"age": np.array([40.0] * 49 + [99.0]), "town": np.array(["A"] * 49 + ["B"])}

    def train(self, parameters: Any, data: Any, context: Any) -> TrainResult:
        trained: TrainResult = super().train(parameters, data, context)
        results = {"ages": np.array([40.0, 99.0])} if context.run_config["rows"] else {}
        metrics = {"train_loss": 0.5, "oldest": 99.0}
        passes = 0.01 if context.options.batch_size == 1 else trained.num_epochs
        return replace(trained, num_epochs=passes, metrics=metrics, results=results)
