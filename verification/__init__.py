"""How updates are judged. Pure: arrays in, a verdict out."""
