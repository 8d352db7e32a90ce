"""What a person sees of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table

from epymarl_lmac.stopping import LastingStream

SHOWN = {
    "return_mean": "return",
    "test_return_mean": "test return",
    "epsilon": "epsilon",
    "loss": "TD loss",
    "recon_r2": "reconstruction R2",
}


def duration(seconds: float) -> str:
    """Returns ``1:02:03`` or ``2:03``."""
    hours, rest = divmod(int(max(0, seconds)), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class Speed:
    """Steps per second since the last call, and how the time was spent."""

    def __init__(self, t_env: int) -> None:
        self._time, self._t_env, self._spent = time.perf_counter(), t_env, {"env": 0.0, "inference": 0.0}
        self._spent["update"] = self._spent["test"] = 0.0

    def measure(self, t_env: int, timers: Mapping[str, float]) -> dict[str, float]:
        """Returns steps per second and the shares of environment, inference, update and test, in percent.

        Args:
            t_env: steps so far.
            timers: seconds so far by part.
        """
        now = time.perf_counter()
        elapsed = max(now - self._time, 1e-9)
        values = {"steps_per_s": (t_env - self._t_env) / elapsed}
        for part, total in self._spent.items():
            values[f"{part}_share"] = 100 * (timers.get(part, 0.0) - total) / elapsed
            self._spent[part] = timers.get(part, 0.0)
        self._time, self._t_env = now, t_env
        return values


class Screen:
    """Shows the progress of one run.

    Args:
        title: what runs, e.g. "lmac_qmix on lbf 8x8-2p-2f-s1-coop, seed 1".
        t_max: steps at the end.
        t_start: steps at the start (not 0 when resumed).
        stream: where to write; a live table if it is a terminal. The run goes on if its reader leaves.
    """

    def __init__(self, title: str, t_max: int, t_start: int = 0, stream: TextIO | None = None) -> None:
        self._stream = cast(TextIO, LastingStream(sys.stdout if stream is None else stream))
        self._title, self._t_max, self._t_start = title, t_max, t_start
        self._t_env, self._episodes = t_start, 0
        self._values: dict[str, float] = {}
        self._speed: dict[str, float] = {}
        self._start = time.perf_counter()
        self._live: Live | None = None
        if self._stream.isatty():
            self._live = Live(self._table(), console=Console(file=self._stream), refresh_per_second=4)
            self._live.start()
        else:
            self.line(f"{title}: 0 of {t_max} steps" if not t_start else f"{title}: resumed at {t_start}")

    def note(self, key: str, value: float) -> None:
        """Keeps a logged figure, to be shown if it is one of those."""
        if key in SHOWN:
            self._values[key] = value

    def progress(self, t_env: int, episodes: int) -> None:
        """Says how far the run is."""
        self._t_env, self._episodes = t_env, episodes
        if self._live is not None:
            self._live.update(self._table())

    def speed(self, values: dict[str, float]) -> None:
        """Keeps the latest speed and, when not a terminal, writes a line."""
        self._speed = values
        if self._live is None:
            self.line(self._summary())

    def line(self, text: str) -> None:
        """Writes one line, above the table if there is one."""
        if self._live is not None:
            self._live.console.print(text, highlight=False)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the terminal as it was; may be called again."""
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()
            self._live = None

    def _left(self) -> str:
        done = self._t_env - self._t_start
        if done <= 0:
            return "?"
        return duration((time.perf_counter() - self._start) * (self._t_max - self._t_env) / done)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("step", f"{self._t_env:,} / {self._t_max:,}"), ("episodes", f"{self._episodes:,}")]
        rows += [(name, f"{self._values[key]:.3f}") for key, name in SHOWN.items() if key in self._values]
        if self._speed:
            shares = ", ".join(
                f"{part} {self._speed[f'{part}_share']:.0f}%" for part in ("env", "inference", "update", "test")
            )
            rows.append(("steps/s", f"{self._speed['steps_per_s']:,.0f} ({shares})"))
        rows.append(("time left", self._left()))
        return rows

    def _summary(self) -> str:
        return " | ".join(f"{name} {value}" for name, value in self._rows())

    def _table(self) -> Table:
        table = Table(title=self._title, show_header=False, title_justify="left")
        for row in self._rows():
            table.add_row(*row)
        return table


def console_error(message: str, stream: Any = None) -> None:
    """Writes one error message to standard error."""
    print(f"error: {message}", file=sys.stderr if stream is None else stream, flush=True)
