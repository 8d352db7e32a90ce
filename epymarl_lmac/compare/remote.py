"""A run on another machine: what is done there, and what this machine sees of it through the shared folder.

Both machines see the comparison's folder, the project and its Python under the same paths. A **ticket**, a small file
beside the run's log, says that the run is still wanted. The machine that runs it looks at the ticket twice a second;
taken away, or replaced by a later ``compare``, it means "save and leave". So the same few lines serve every kind of
cluster, and a job that waited in a queue for a ``compare`` that is long gone leaves at once.
"""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from epymarl_lmac.compare.bound import bound_command
from epymarl_lmac.compare.process import RunProcess, ending_of, last_lines
from epymarl_lmac.errors import RecordError, SettingsError
from epymarl_lmac.paths import source_root
from epymarl_lmac.record.files import write_bytes

LOOK_S = 0.5  # between two looks at the ticket
UNWANTED = 143  # exit code of a run that nobody wants any more; that of a run stopped by SIGTERM


def require_package(name: str, option: str) -> ModuleType:
    """Returns an optional package.

    Args:
        name: the package.
        option: what needs it.

    Raises:
        SettingsError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise SettingsError(
            f"{option} needs the package {name} ({err}): pip install 'epymarl-lmac[cluster]'.", option
        ) from err


def needed_paths(out: Path) -> list[str]:
    """Returns what every machine must see: the comparison's folder, the Python and the project."""
    return [str(out.absolute()), sys.executable, str(source_root() / "main.py")]


def missing_paths(paths: Sequence[str]) -> list[str]:
    """Returns the paths that the machine where this is called does not see."""
    return [path for path in paths if not Path(path).exists()]


def run_there(command: Sequence[str], log: str, ticket: str, token: str, variables: Mapping[str, str]) -> int:
    """Runs a command on the machine where this is called, and returns its exit code.

    The command ends with the process that calls this, whatever becomes of it.

    Args:
        command: what to start.
        log: file to append its output to, in the shared folder.
        ticket: file that says whether the run is wanted.
        token: what the ticket holds as long as it is.
        variables: environment variables for the command.

    Raises:
        RecordError: this machine does not see the shared folder.
    """
    path = Path(log)
    if not path.parent.is_dir():
        raise RecordError(
            f"{socket.gethostname()} does not see {path.parent}; give --out a folder that every machine shares."
        )
    if not _is_wanted(Path(ticket), token):
        return UNWANTED
    with path.open("ab") as file:
        file.write(f"runs on {socket.gethostname()}, started by process {os.getpid()}\n".encode())
    process = RunProcess(bound_command(command), path, variables=variables)
    try:
        asked = False
        while not process.wait(LOOK_S):
            if not asked and not _is_wanted(Path(ticket), token):
                process.ask_to_stop()
                asked = True
    finally:
        process.kill()
    code = process.poll()
    assert code is not None
    return code


def _is_wanted(ticket: Path, token: str) -> bool:
    try:
        return ticket.read_text() == token
    except FileNotFoundError:
        return False
    except OSError:  # a network folder may fail for a moment; that is no reason to end a run
        return True


class RemoteRun(ABC):
    """What this machine sees of a run elsewhere; how it was submitted is a subclass's matter.

    Args:
        command: what to start.
        log: file for its output, in the shared folder.

    Raises:
        RecordError: the shared folder cannot be written.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log, self._ticket = log.absolute(), log.absolute().with_suffix(".ticket")
        self._start_of_log = self._log.stat().st_size if self._log.exists() else 0
        self._lost = ""  # in words, where it ended without an exit code
        self._code: int | None = None
        token = secrets.token_hex(8)
        write_bytes(self._ticket, token.encode())
        self._arguments = (list(command), str(self._log), str(self._ticket), token)

    @abstractmethod
    def _result(self) -> int | None:
        """Returns the exit code, or None while there is none.

        Raises:
            Exception: it ended without one.
        """

    @abstractmethod
    def _cancel(self) -> None:
        """Ends the job at once, queued or not."""

    @abstractmethod
    def _explain(self, err: Exception) -> str:
        """Returns in words what an error of ``_result`` means."""

    @property
    def has_begun(self) -> bool:
        """Whether it works; False while it is queued."""
        return self._log.exists() and self._log.stat().st_size > self._start_of_log

    def poll(self) -> int | None:
        """Returns the exit code, or None while it is queued or works; 1 where it ended without one."""
        if self._code is None:
            try:
                self._code = self._result()
            except Exception as err:  # every cluster has its own classes
                self._code, self._lost = 1, self._explain(err)
            if self._code is not None:
                self._ticket.unlink(missing_ok=True)
        return self._code

    def ending(self) -> str:
        """Returns in words how it ended."""
        return self._lost or ending_of(self.poll())

    def ask_to_stop(self) -> None:
        """Takes the ticket away; a run that is still queued is cancelled."""
        self._ticket.unlink(missing_ok=True)
        if self.poll() is None and not self.has_begun:
            self._cancel()

    def kill(self) -> None:
        """Ends the run at once."""
        self._ticket.unlink(missing_ok=True)
        if self.poll() is None:
            self._cancel()

    def wait(self, timeout_s: float) -> bool:
        """Waits for the end; returns whether it came in time."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(0.05, timeout_s))
        return True

    def last_lines(self) -> list[str]:
        """Returns the last lines that this run wrote."""
        lines = last_lines(self._log, self._start_of_log) if self._log.exists() else []
        return lines or ["(no output)"]
