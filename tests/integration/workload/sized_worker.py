"""A clients' worker like any, one message to which brings up to as many orders as ``MOST_TOGETHER`` says."""

from __future__ import annotations

import os
from importlib import import_module

from worker import together

together.MOST_TOGETHER = int(os.environ["MOST_TOGETHER"])
app = import_module("worker.celery").app
