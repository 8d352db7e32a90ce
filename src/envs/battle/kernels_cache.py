"""The decorator of all compiled functions of the engine, with a disk cache that notices changes in every kernel file.

Numba's own cache looks at the file of the function itself only: after a change in one kernel file, a function of
another file that calls it would run the old code. Here the stamp of a cached function covers all kernel files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config, njit


def source_stamp() -> str:
    """Returns a SHA-256 of the source of every file that holds compiled functions or their records."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem.startswith("kernels") or path.stem in ("orders", "terrain"):
            digest.update(path.stem.encode() + path.read_bytes())
    return digest.hexdigest()


_STAMP = source_stamp()


def kernel(function: Callable) -> Any:
    """Compiles a function when it is first called and keeps the result on disk.

    Divisions follow NumPy's rules, so they need no branches that raise.
    """
    dispatcher = njit(cache=True, nogil=True, error_model="numpy")(function)
    if not config.DISABLE_JIT:  # else it is the plain function
        dispatcher._cache._cache_file._source_stamp = _STAMP  # no public way; a test checks that it works
    return dispatcher
