"""How orders go out and responses come in, over Celery and Redis, or in memory."""
