"""Where the runs of a grid are started: one small interface, and the way that needs nothing, a process of this machine.

The schedule decides what is started, tried again and stopped; a launcher only starts one command. Read next:
``remote.py`` (what happens on another machine), ``ray_launcher.py`` and ``slurm_launcher.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from epymarl_lmac.compare.process import RunProcess
from epymarl_lmac.cores import n_cores


class StartedRun(Protocol):
    """A run that was started, here or elsewhere. Its output is in its log, which this machine can read."""

    @property
    def has_begun(self) -> bool:
        """Whether it works; False while it is queued."""

    def poll(self) -> int | None:
        """Returns the exit code, or None while it is queued or works."""

    def ending(self) -> str:
        """Returns in words how it ended, for a run that left no finished record."""

    def ask_to_stop(self) -> None:
        """Asks the run to save and leave."""

    def kill(self) -> None:
        """Ends the run at once."""

    def wait(self, timeout_s: float) -> bool:
        """Waits for the end; returns whether it came in time."""

    def last_lines(self) -> list[str]:
        """Returns the last lines that this run wrote."""


class Launcher(Protocol):
    """Starts runs."""

    def capacity(self, n_cells: int) -> int:
        """Returns how many runs to start at a time where the user says nothing.

        Args:
            n_cells: runs in the plan.
        """

    def start(self, command: Sequence[str], log: Path, gpu: str | None) -> StartedRun:
        """Starts a run.

        Args:
            command: what to start; all paths in it are absolute.
            log: file that its output is appended to.
            gpu: device of this machine that the run may see, or None.
        """

    def close(self) -> None:
        """Gives back what was taken for starting runs."""


class LocalLauncher:
    """Starts runs as processes of this machine."""

    def capacity(self, n_cells: int) -> int:
        """Returns one run a core."""
        return n_cores()

    def start(self, command: Sequence[str], log: Path, gpu: str | None) -> RunProcess:
        """Starts a run as a process."""
        return RunProcess(command, log, gpu)

    def close(self) -> None:
        """Does nothing."""
