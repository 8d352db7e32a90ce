"""What a person sees while a comparison runs: one live table on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table

from epymarl_lmac.compare.schedule import State, Task
from epymarl_lmac.record.screen import duration
from epymarl_lmac.stopping import LastingStream

LINE_EVERY_S = 60.0
MARKS = {State.DONE: "green", State.FAILED: "red", State.RUNNING: "bold", State.ELSEWHERE: "bold"}


def progress_table(tasks: Sequence[Task]) -> Table:
    """Returns one row a run: step, return, steps per second, time left, state."""
    table = Table(title="comparison", title_justify="left")
    for name, justify in (
        ("algorithm", "left"), ("environment", "left"), ("seed", "right"), ("step", "right"), ("return", "right"),
        ("steps/s", "right"), ("time left", "right"), ("state", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for task in tasks:
        left = task.time_left_s()
        value, speed = task.progress.value, task.progress.steps_per_s
        table.add_row(
            task.cell.alg,
            task.cell.env,
            str(task.cell.seed),
            f"{task.progress.t_env:,} / {task.cell.t_max:,}",
            "" if value is None else f"{value:.3f}",
            "" if speed is None or task.state is not State.RUNNING else f"{speed:,.0f}",
            "" if left is None else duration(left),
            task.state_text(),
            style=MARKS.get(task.state),
        )
    return table


class LiveTable:
    """Shows the tasks of a schedule.

    Args:
        stream: where to write; a live table if it is a terminal. The runs go on if its reader leaves.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = cast(TextIO, LastingStream(sys.stdout if stream is None else stream))
        self._live: Live | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> LiveTable:
        if self._stream.isatty():
            self._live = Live(console=Console(file=self._stream), refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, text: str) -> None:
        """Writes a line, above the table if there is one."""
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self._stream, flush=True)

    def show(self, tasks: Sequence[Task]) -> None:
        """Updates the table, or writes a line once a minute."""
        if self._live is not None:
            self._live.update(progress_table(tasks))
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.line(summary_line(tasks))


def summary_line(tasks: Sequence[Task]) -> str:
    """Returns e.g. ``2 done, 1 running, 3 waiting | 1,200,000 of 3,000,000 steps``."""
    counts = [(state, sum(task.state is state for task in tasks)) for state in State]
    shown = ", ".join(f"{n} {state.value}" for state, n in counts if n)
    done = sum(min(task.progress.t_env, task.cell.t_max) for task in tasks)
    return f"{shown} | {done:,} of {sum(task.cell.t_max for task in tasks):,} steps"
