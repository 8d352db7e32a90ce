"""Writes files whole or not at all: under a temporary name, forced to the disk, then renamed.

A reader never sees half a file. A process killed or a disk filled while writing leaves the old file as it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from epymarl_lmac.errors import RecordError, UserError

PART = ".part"


def _sync_folder(folder: Path) -> None:
    """Forces a rename inside ``folder`` to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path, error: Callable[[str], UserError] = RecordError) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes the place of ``path`` only when the block ends without an error.

    Args:
        path: the file to write; its folder must exist.
        error: makes the error to raise from one sentence.

    Yields:
        A binary file.

    Raises:
        RecordError: the file cannot be written (or what ``error`` makes); an older version is untouched.
    """
    temporary = path.with_name(path.name + PART)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as err:
        _remove(temporary)
        raise error(f"Cannot write {path}: {err.strerror or err}.") from err
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    """Removes a leftover; a folder that refuses this too (read-only) has the first error reported instead."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes whole or not at all; see ``whole_file``."""
    with whole_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all; see ``whole_file``."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with sorted keys, whole or not at all; see ``whole_file``."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")
