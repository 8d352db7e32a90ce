"""Seeds of all random streams, derived from the run's one seed by name."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, name: str) -> int:
    """Returns the seed of the stream ``name`` of a run.

    Streams of different names, and of different runs, are independent for all practical purposes.

    Args:
        seed: the run's seed, any integer.
        name: what the stream is for, e.g. ``"exploration"``.

    Returns:
        An integer in [0, 2**31), which numpy, torch and game engines all accept.
    """
    digest = hashlib.sha256(f"{int(seed)}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
