"""The server's side: it selects clients, sends orders, collects and aggregates updates, round by round."""
