"""One run of the grid as a process of its own: the same command line that a user types."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from epymarl_lmac.errors import RecordError
from epymarl_lmac.paths import source_root
from epymarl_lmac.settings.command_line import assignment
from epymarl_lmac.stopping import stop_signals

LAST_LINES = 12


def host_command(argv: Sequence[str], results: Path, resume: Path | None) -> list[str]:
    """Returns the command that runs (or resumes) a run.

    Args:
        argv: arguments of the host's command line; they contain ``with``.
        results: folder under which the run is recorded.
        resume: folder of the run to go on with, or None.
    """
    updates = [assignment("local_results_path", str(results))]
    if resume:
        updates.append(assignment("checkpoint_path", str(resume)))
    return [sys.executable, str(source_root() / "main.py"), *argv, *updates]


def ending_of(code: int | None) -> str:
    """Returns in words how a process with an exit code ended that left no finished record of its run."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else "ended without a finished record of this run"


def last_lines(log: Path, start: int = 0) -> list[str]:
    """Returns the last lines of a log, at most LAST_LINES, blank ones left out.

    Args:
        log: the file.
        start: byte at which to begin.
    """
    try:
        text = log.read_bytes()[start:].decode("utf-8", errors="replace")
    except OSError as err:
        return [f"(the log {log} cannot be read: {err.strerror})"]
    return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]


class RunProcess:
    """A started run. Its output goes to a log file.

    Args:
        command: what to start.
        log: file to append to.
        gpu: device that the run may see, or None for the environment's own choice.
        variables: environment variables that it gets beside this process's own.

    Raises:
        RecordError: the log cannot be written.
    """

    def __init__(
        self, command: Sequence[str], log: Path, gpu: str | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        environment = {"OMP_NUM_THREADS": "1", **os.environ, **(variables or {})}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            with log.open("ab") as file:
                self._start_of_log = file.tell()
                # A session of its own: Ctrl-C reaches compare only, which asks every run to save.
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as err:
            raise RecordError(f"Cannot write {log}: {err.strerror}.") from err

    @property
    def pid(self) -> int:
        """Returns the process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        return self._process.poll()

    @property
    def has_begun(self) -> bool:
        """Returns True: it is not queued anywhere."""
        return True

    def ending(self) -> str:
        """Returns in words how it ended, for a run that left no finished record."""
        return ending_of(self.poll())

    def ask_to_stop(self) -> None:
        """Asks the run to save and leave."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the run at once."""
        if self.poll() is None:
            self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> bool:
        """Waits for the end; returns whether it came in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def run_to_end(self) -> list[str]:
        """Waits for the run; a signal to stop lets it save and leave first, and goes on to the caller as Ctrl-C does.

        Returns:
            Its last lines if it failed, else nothing.
        """
        before = {s: signal.signal(s, signal.default_int_handler) for s in stop_signals()}
        try:
            while not self.wait(5):
                pass
        except KeyboardInterrupt:
            self.ask_to_stop()
            self.wait(120)
            raise
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
        return self.last_lines() if self.poll() else []

    def last_lines(self) -> list[str]:
        """Returns the last lines that this run wrote."""
        return last_lines(self._log, self._start_of_log)
