"""``python -P -m worker``: ``celery -A worker worker`` for a folder that has a ``worker.py`` of its own.

Celery looks for what ``-A`` names in the folder one stands in first. Here this package is imported already.
"""

from __future__ import annotations

import sys

from celery.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--app", "worker", "worker"]
    main()
