"""Starts a command that the kernel kills when the process that started it is gone.

A worker of a cluster can be killed so that it has no chance to end what it started. Without this, a run would outlive
its worker and go on writing while its second try begins. Linux only; elsewhere the command starts without the bond.
Run as a program, because code between fork and exec is not safe in a process with threads, and workers have many.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in linux/prctl.h


def bound_command(command: Sequence[str]) -> list[str]:
    """Returns the command that runs ``command`` for as long as this process lives."""
    return [sys.executable, __file__, str(os.getpid()), *command]


def main(argv: Sequence[str]) -> None:
    """Becomes ``argv[1:]``, bound to the parent process ``argv[0]``."""
    parent, command = int(argv[0]), list(argv[1:])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the bond was there
        os.kill(os.getpid(), signal.SIGKILL)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
