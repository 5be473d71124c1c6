"""The live page: shows runs in a browser by what is on disk; it never asks the broker, nor a run's processes."""
