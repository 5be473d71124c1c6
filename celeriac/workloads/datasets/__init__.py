"""Data sets, a file each: workloads that read one, and split it among the clients."""
