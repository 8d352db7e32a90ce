"""What ``attach`` wrote into a host, kept there in one small file until ``detach``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epymarl_lmac.errors import AttachError

FILE = ".epymarl-lmac.json"
FORMAT = 1


def digest(content: bytes) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """The record of one attach."""

    kind: str  # of the host
    version: str  # of this package
    prefix: str  # put before names that the host has too
    entry_file: str  # the file that got a line, relative to the host's root
    entry_line: str  # that line, without its end
    entry_before: str  # digest of the file without the line
    entry_after: str  # digest of the file with it
    files: dict[str, str] = field(default_factory=dict)  # added files: relative path -> digest
    registries: dict[str, dict[str, str]] = field(default_factory=dict)  # kind -> {name in the host: our name}
    envs: dict[str, dict[str, Any]] = field(default_factory=dict)  # name in the host -> {"name", "drop"}
    left_open: list[str] = field(default_factory=list)  # settings that are null in algorithms' files
    format: int = FORMAT

    def content(self) -> bytes:
        """Returns the file's content."""
        return (json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def read(cls, root: Path) -> Manifest | None:
        """Returns a host's record, or None where it has none.

        Raises:
            AttachError: the file is damaged or of another version's format.
        """
        path = root / FILE
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise AttachError(
                    f"{path} has format {values['format']}, this version reads {FORMAT}; "
                    "detach with the version that attached."
                )
            return cls(**values)
        except (ValueError, KeyError, TypeError) as err:
            raise AttachError(f"{path} cannot be read ({err}); restore it from the host's history.") from err
