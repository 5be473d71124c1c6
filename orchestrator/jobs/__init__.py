"""What the orchestrator's own workers do: the initial model, each update, and the close of a round."""
