from __future__ import annotations

from hypothesis import settings

# No test depends on how fast the machine is, and each run tries the same examples.
settings.register_profile("celeriac", deadline=None, derandomize=True)
settings.load_profile("celeriac")
