"""The decorator of all compiled functions of the engine, with a disk cache that notices changes in every file it uses.

Numba's own cache looks at the file of the function itself only: after a change in one kernel file, a function of
another file that calls it would run the old code. Here the stamp of a cached function covers its file and all files
of the engine that it imports, directly or not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

_IMPORT = re.compile(r"^from envs\.battle\.(\w+) import", re.MULTILINE)


@cache
def _sources(path: Path) -> frozenset[Path]:
    """Returns a file of the engine and all files of it that it imports."""
    found, open_ends = {path}, [path]
    while open_ends:
        for name in _IMPORT.findall(open_ends.pop().read_text(encoding="utf-8")):
            used = path.parent / f"{name}.py"
            if used not in found and used.is_file():
                found.add(used)
                open_ends.append(used)
    return frozenset(found)


def source_stamp(path: Path) -> str:
    """Returns a SHA-256 over a file of the engine and all files of it that it imports."""
    digest = hashlib.sha256()
    for used in sorted(_sources(path)):
        digest.update(used.stem.encode() + used.read_bytes())
    return digest.hexdigest()


def kernel(function: Callable) -> Any:
    """Compiles a function when it is first called and keeps the result on disk.

    Divisions follow NumPy's rules, so they need no branches that raise.
    """
    dispatcher: Any = njit(cache=True, nogil=True, error_model="numpy")(function)
    if hasattr(dispatcher, "_cache"):  # else compiling is switched off and it is the plain function
        stamp = source_stamp(Path(function.__code__.co_filename))
        dispatcher._cache._cache_file._source_stamp = stamp  # no public way; a test checks that it works
    return dispatcher
