"""Federated analytics: statistics of what clients have, without a model."""
