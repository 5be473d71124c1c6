"""A run's folder: what is in it, and where."""
