"""Fixtures of the eager tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery

import worker.tasks  # noqa: F401  (the app has the tasks of both sides)
from tasks.broker.app import make_app
from tests.eager.federation import Federation


@pytest.fixture(scope="session")
def app() -> Celery:
    app = make_app("eager", "memory://", include=(), task_always_eager=True)
    app.conf.update(result_backend="cache+memory://")
    app.finalize()
    return app


@pytest.fixture
def federation(app: Celery, tmp_path: Path) -> Federation:
    """Anna, bert and carl, who pull a point towards theirs."""
    return Federation(app, tmp_path)
