"""How many examples a property is tried with: ten times as many with EXAMPLES=10."""

import os

from hypothesis import settings

TIMES = int(os.environ.get("EXAMPLES", "1"))


def examples(count, **more):
    """Return a decorator like ``settings``, for this many examples."""
    return settings(max_examples=count * TIMES, **more)
