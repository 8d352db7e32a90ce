"""Mirrors a run to MongoDB while it goes on, from a thread of its own, so that a slow or dead server costs no step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from epymarl_lmac.record.mongo import MongoTarget, mark_unsent, send_whole, unsent_folders

PERIOD_S = 10.0  # between two looks at the run's folder
REST = 50  # times what the last sending took is waited before the next: under 2 % of the time
END_S = 8.0  # for the last sending at the end of a run; what a server that is away may cost it


class MongoSink:
    """Sends a run's folder to MongoDB again and again.

    Args:
        target: the database.
        folder: the run's folder.
        warn: shows one sentence to the user.
        period_s: seconds between two sendings.
    """

    def __init__(
        self, target: MongoTarget, folder: Path, warn: Callable[[str], None], period_s: float = PERIOD_S
    ) -> None:
        self._target, self._folder, self._warn, self._period_s = target, folder, warn, period_s
        self._failure = ""
        self._refused = 0
        self._changed = True
        self._ending = threading.Event()
        mark_unsent(folder, target.name, "the run has not ended")
        self._thread = threading.Thread(target=self._work, name="mongo mirror", daemon=True)
        self._thread.start()

    def write(self, key: str, value: float, t_env: int) -> None:
        """Notes that there is something new; the thread reads it from the run's metrics file."""
        self._changed = True

    def close(self) -> None:
        """Sends the ended run; called after its record says how it ended.

        What has not arrived within END_S stays marked on disk, and a warning says how to send it.
        """
        self._ending.set()
        self._thread.join(END_S)
        if self._thread.is_alive() and not self._failure:
            self._failure = f"no answer within {END_S:.0f} s"
        if self._thread.is_alive() or self._failure:
            self._warn(
                f"warning: MongoDB at {self._target.name} lacks some of this run ({self._failure}). The record in "
                f"{self._folder} is complete; the next run sends it, or: epymarl-lmac sync {self._folder.parent}"
            )
        elif self._refused:
            self._warn(f"warning: MongoDB at {self._target.name} refused {self._refused} documents of this run.")

    # -- the thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        pause = 0.0
        while not self._ending.wait(pause):
            started = time.monotonic()
            if self._changed:
                self._changed = False
                self._try(lambda: self._target.send(self._folder, with_files=False))
            pause = max(self._period_s, REST * (time.monotonic() - started))
        if self._try(lambda: send_whole(self._target, self._folder)):
            for other in unsent_folders(self._folder.parent):
                self._try(lambda other=other: send_whole(self._target, other))  # type: ignore[misc]
        self._target.close()

    def _try(self, send: Callable[[], int]) -> bool:
        """Sends; on failure warns the first time and notes that there is something left to send."""
        try:
            self._refused = send()
        except Exception as err:  # a mirror may fail in any way
            if not self._failure:
                self._warn(
                    f"warning: MongoDB at {self._target.name} cannot be reached ({type(err).__name__}). "
                    "The run goes on; what is missing there is sent later."
                )
            self._failure, self._changed = type(err).__name__, True
            return False
        self._failure = ""
        return True
