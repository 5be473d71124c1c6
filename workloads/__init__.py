"""Workloads that come with the project, and the PyTorch training loop that they and a user's own build on."""
