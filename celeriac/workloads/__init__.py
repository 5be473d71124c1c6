"""The built-in workloads, and the PyTorch training loop for these and a user's own."""
