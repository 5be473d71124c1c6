"""The server's side: it selects clients, sends orders, collects and aggregates updates, round by round."""

import importlib
import sys
from pathlib import Path

# A tasks.py in the folder one stands in comes before ours on the path: the one beside this package is meant.
sys.path.insert(0, str(Path(__file__).parents[1]))
importlib.import_module("tasks")  # has our packages' names mean ours from here on
del sys.path[0]
