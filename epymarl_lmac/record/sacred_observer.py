"""Keeps Sacred's observers from ever stopping a run."""

from __future__ import annotations

import sys
from typing import Any

from sacred.observers import RunObserver


class CarefulObserver(RunObserver):
    """Passes Sacred's events on to an observer and turns its errors into one warning.

    Args:
        observer: the observer to protect, e.g. a ``FileStorageObserver``.
    """

    def __init__(self, observer: RunObserver) -> None:
        self._observer = observer
        self._failed = False
        self.priority = observer.priority

    def _call(self, event: str, *args: Any, **kwargs: Any) -> Any:
        if self._failed:
            return None
        try:
            return getattr(self._observer, event)(*args, **kwargs)
        except Exception as err:  # an observer may fail in any way
            self._failed = True
            print(
                f"warning: Sacred's {type(self._observer).__name__} failed ({type(err).__name__}: {err}). "
                "The run goes on; its own record is complete.",
                file=sys.stderr,
                flush=True,
            )
            return None


def _event(name: str) -> Any:
    def call(self: CarefulObserver, *args: Any, **kwargs: Any) -> Any:
        return self._call(name, *args, **kwargs)

    call.__name__ = name
    call.__doc__ = f"Passes ``{name}`` on."
    return call


for _name in vars(RunObserver):
    if _name.endswith("_event") or _name in ("log_metrics", "join"):
        setattr(CarefulObserver, _name, _event(_name))
