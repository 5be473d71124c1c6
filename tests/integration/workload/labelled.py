"""A workload for tests whose clients have labels: one of the part's number, and one that all have."""

from __future__ import annotations

from dataclasses import replace

from tasks.workload import ClientData, DataSource
from tests.integration.workload.pulled import Pulled


class Labelled(Pulled):
    """Pulls as slowly as the environment says."""

    def client_data(self, source: DataSource) -> ClientData:
        data = super().client_data(source)
        number = source.part.index + 1
        return replace(data, labels={str(number): data.num_train - 1, "common": 1})
