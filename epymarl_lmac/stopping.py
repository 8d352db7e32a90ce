"""What ends a program that works for hours, and what does not: signals to stop, and a reader that is gone."""

from __future__ import annotations

import os
import signal
from typing import Any, TextIO


def stop_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that ask a program to save and leave: SIGINT, SIGTERM, and SIGHUP of a terminal that closes.

    SIGHUP is left out where it is ignored, as ``nohup`` has it, and where the system has none.
    """
    asked = (signal.SIGINT, signal.SIGTERM)
    hangup = getattr(signal, "SIGHUP", None)
    return asked if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN else (*asked, hangup)


def is_hangup(signum: int) -> bool:
    """Returns whether a signal says that the terminal is gone; shell and kernel may both send it."""
    return signum == getattr(signal, "SIGHUP", None)


class LastingStream:
    """A text stream that stays usable when its reader is gone, e.g. a pipe that was closed or a lost terminal.

    What is written from then on goes nowhere, also by others that write to the same file descriptor.

    Args:
        stream: where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, and returns how many characters it was given."""
        try:
            self._stream.write(text)
        except OSError:
            self._lose_reader()
        return len(text)

    def flush(self) -> None:
        """Sends on what is buffered."""
        try:
            self._stream.flush()
        except OSError:
            self._lose_reader()

    def _lose_reader(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
