"""Observers whose packages aren't installed: that is said before anything starts, with what to do."""

from __future__ import annotations

import sys

import pytest

from orchestrator.observers import load_observer
from tasks.errors import ConfigurationError

PACKAGES = {
    "prometheus:9464": ("prometheus_client", "prometheus-client"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "mlflow": ("mlflow", "mlflow-skinny"),
    "wandb": ("wandb", "wandb"),
    "otel:http://127.0.0.1:4318": ("opentelemetry", "opentelemetry-sdk"),
}
"""Observer -> what it imports, and which package has that."""


@pytest.mark.parametrize("spec", PACKAGES)
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    # Given a machine without the package of an observer
    module, package = PACKAGES[spec]
    name = spec.partition(":")[0]
    for loaded in [each for each in sys.modules if each.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"orchestrator.observers.{name}", raising=False)
    # When it is asked for, then the error says what to install
    with pytest.raises(ConfigurationError) as raised:
        load_observer(spec)
    assert str(raised.value) == f"observer {name!r} takes {package}: pip install 'celeriac[{name}]'"
