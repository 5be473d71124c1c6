"""The built-in workloads, and the PyTorch training loop for these and a user's own."""

import importlib
import sys
from pathlib import Path

# Import the tasks package beside this one, even if the current folder, earlier on the path, has a tasks.py of its own.
sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    importlib.import_module("tasks")  # from here on it makes all our packages' names mean ours
finally:
    del sys.path[0]
