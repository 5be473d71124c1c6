"""The Redis that both sides reach: connections, the Celery app, who is there, whose turn it is."""
