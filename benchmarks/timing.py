"""Timing of a function, for the benchmarks of this folder."""

from __future__ import annotations

import time
from collections.abc import Callable


def quartile(function: Callable[[], object], repeats: int) -> float:
    """Returns the quartile of fast runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 4]
