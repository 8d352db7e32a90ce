"""A registry whose entries are imported when they are first used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any


class LazyRegistry(MutableMapping[str, Any]):
    """Names mapped to classes or functions, each given as the object or as ``"module:attribute"``.

    Args:
        entries: what is registered from the start.
        unknown: builds the error for an unknown name from a sentence that names it, the nearest known name
            and all known ones.
    """

    def __init__(self, entries: Mapping[str, Any], unknown: Callable[[str], Exception]) -> None:
        self._entries = dict(entries)
        self._unknown = unknown

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise self._unknown(self._message(name))
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def __setitem__(self, name: str, entry: Any) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the entry, or ``default`` where there is none."""
        return self[name] if name in self._entries else default

    def _message(self, name: str) -> str:
        near = difflib.get_close_matches(str(name), self._entries, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{name!r} is not known{hint} Choose one of: {', '.join(sorted(self._entries))}."
