"""What is to be done to a host's files: planned first, then carried out as a whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from epymarl_lmac.errors import AttachError
from epymarl_lmac.plugin.manifest import FILE


@dataclass(frozen=True)
class Change:
    """One thing that attach or detach does, or leaves."""

    sign: str  # "+" adds a file, "~" changes one, "-" removes one, "=" leaves as it is
    what: str

    def __str__(self) -> str:
        return f"{self.sign} {self.what}"


@dataclass
class Plan:
    """What is to be done to a host: contents by relative path (None removes a file), and the words for it."""

    root: Path
    title: str
    writes: dict[str, bytes | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.writes

    def carry_out(self) -> None:
        """Writes everything, the record first and its removal last; each file at once or not at all.

        Raises:
            AttachError: a file cannot be written; what was written before is put back.
        """
        before: dict[str, bytes | None] = {}
        order = sorted(self.writes, key=lambda name: (name == FILE) == (self.writes.get(FILE) is None))
        try:
            for name in order:
                path = self.root / name
                before[name] = path.read_bytes() if path.is_file() else None
                _put(path, self.writes[name])
        except OSError as err:
            for name, content in before.items():
                try:
                    _put(self.root / name, content)
                except OSError:
                    continue
            raise AttachError(f"Cannot write {err.filename}: {err.strerror}. Nothing was changed.") from err


def _put(path: Path, content: bytes | None) -> None:
    """Gives a file its content in one step, keeping its mode; None removes it."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    beside = path.with_name(path.name + ".epymarl-lmac-new")
    try:
        beside.write_bytes(content)
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o7777)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
