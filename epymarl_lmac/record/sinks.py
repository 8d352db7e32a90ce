"""Where metrics go: one small interface, and what implements it.

The metrics file is the record; a run that cannot write it ends. Everything else is a **mirror**: wrapped in ``Mirror``,
it can fail in any way without stopping the run, and says so at once and again at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from epymarl_lmac.record.metrics import PERF


class Sink(Protocol):
    """Takes metrics."""

    def write(self, key: str, value: float, t_env: int) -> None:
        """Takes one metric at ``t_env`` environment steps."""

    def close(self) -> None:
        """Ends the sink; called once, when the run ends."""


class Mirror:
    """Keeps the failures of a sink from the run.

    Args:
        name: what the messages call it, e.g. "Sacred".
        make: makes the sink; it may fail like the sink itself.
        warn: shows one sentence to the user.
    """

    def __init__(self, name: str, make: Callable[[], Sink], warn: Callable[[str], None]) -> None:
        self._name, self._warn = name, warn
        self.n_lost = 0
        self._sink: Sink | None = None
        self._first: str = ""
        try:
            self._sink = make()
        except Exception as err:  # a mirror may fail in any way
            self._note(err)

    def _note(self, err: Exception) -> None:
        if not self._first:
            self._first = f"{type(err).__name__}: {err}"
            self._warn(f"warning: {self._name} failed ({self._first}). The run goes on; its own record is complete.")

    def write(self, key: str, value: float, t_env: int) -> None:
        """Passes one metric on; counts it as lost if the sink fails."""
        if self._sink is None:
            self.n_lost += 1
            return
        try:
            self._sink.write(key, value, t_env)
        except Exception as err:
            self.n_lost += 1
            self._note(err)

    def close(self) -> None:
        """Ends the sink and repeats the warning if anything was lost."""
        try:
            if self._sink is not None:
                self._sink.close()
        except Exception as err:
            self._note(err)
        if self._first:
            self._warn(
                f"warning: {self._name} failed during the run ({self._first}); {self.n_lost} metrics are missing there."
            )


class SacredSink:
    """Sends metrics to a Sacred run's observers: as Sacred metrics, and in ``info`` under EPyMARL's names.

    EPyMARL's plot scripts read ``info[key]`` and ``info[key + "_T"]``. What depends on the machine's speed stays out.

    Args:
        sacred_run: Sacred's own run object.
    """

    def __init__(self, sacred_run: Any) -> None:
        self._run = sacred_run

    def write(self, key: str, value: float, t_env: int) -> None:
        """Adds one metric to both."""
        if key.startswith(PERF):
            return
        self._run.log_scalar(key, value, t_env)
        self._run.info.setdefault(key, []).append(value)
        self._run.info.setdefault(f"{key}_T", []).append(t_env)

    def close(self) -> None:
        """Does nothing: Sacred ends its run itself."""


class ScreenSink:
    """Shows metrics on a screen.

    Args:
        note: takes name and value, e.g. ``Screen.note``.
    """

    def __init__(self, note: Callable[[str, float], None]) -> None:
        self._note = note

    def write(self, key: str, value: float, t_env: int) -> None:
        """Passes the value on."""
        self._note(key, value)

    def close(self) -> None:
        """Does nothing: the screen is closed by whoever opened it."""
