"""Where the data folders lie: beside the package in a checkout, inside it once installed.

Nothing in the project finds a file relative to the current directory; everything asks here.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _data_folder(name: str) -> Path:
    """Returns the checkout's folder ``name`` if there is one, else the copy shipped in the package."""
    beside = _PACKAGE.parent / name
    if beside.is_dir() and (_PACKAGE.parent / "setup.py").is_file():
        return beside
    return _PACKAGE / f"_{name}"


def source_root() -> Path:
    """Folder with ``main.py``, ``learners``, ``controllers`` ... (the embedded host)."""
    return _data_folder("src")


def make_host_importable() -> None:
    """Makes the embedded host's modules (``run``, ``envs``, ...) importable, before others of these names."""
    root = str(source_root())
    if root not in sys.path:
        sys.path.insert(0, root)


def config_root() -> Path:
    """Folder with ``default.yaml``, ``algs/`` and ``envs/``."""
    return _data_folder("config")


def protocols_root() -> Path:
    """Folder with the shipped protocol bundles, ``<env>/<task>/<bundle>/``."""
    return _data_folder("protocols")
