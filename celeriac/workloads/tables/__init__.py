"""Tables, CSV or parquet: their rows, what clients agree on of their columns, and the workload that trains on them."""
