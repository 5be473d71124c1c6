"""Ways to carry out federated rounds, a module each; all by name in :mod:`benchmarks.contenders.by_name`."""
