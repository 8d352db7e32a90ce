"""How many processor cores there are to use."""

from __future__ import annotations

import os


def n_cores() -> int:
    """Returns how many cores of this machine this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
