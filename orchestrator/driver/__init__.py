"""The loop of a run: it decides, sends and waits, and computes nothing."""
