"""What became of a run: running, finished, stopped, failed, or dead.

``run.json`` says what the run itself last knew. A run that was killed could not write anything any more: its record
says "running" while nobody holds its lock. Such a run is **dead**; it can be resumed from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from epymarl_lmac.checkpoint import LOCK, is_locked
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.files import write_json
from epymarl_lmac.record.provenance import FILE_NAME, read_run

RUNNING, FINISHED, STOPPED, FAILED, DEAD = "running", "finished", "stopped", "failed", "dead"
STATES = (RUNNING, FINISHED, STOPPED, FAILED, DEAD)
ERROR_LINES = 20  # last lines of a traceback that are kept
OF_ATTEMPT = ("git", "packages", "machine", "environment_rules")  # may be others when a run is resumed
FROM = "checkpoint_path"  # how an attempt was resumed, nothing that the run depends on
MISSING = "not set"  # value before of a setting that the record did not have


def now() -> str:
    """Returns the time in UTC, e.g. ``2026-01-31T12:00:00+00:00``."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunStatus:
    """Keeps ``run.json`` up to date from the start of a run to its end.

    Args:
        folder: the run's folder.
        description: what this attempt says of the run at its start.
        t_env: environment steps at this start (0 unless resumed).
        resume: whether the folder has a record, which is continued: ``settings`` and ``evaluation`` of the description
            take the place of the recorded ones, versions and machine are noted with the attempt.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any], t_env: int = 0, resume: bool = False) -> None:
        self._path = folder / FILE_NAME
        self._content = dict(read_run(folder) if resume else description)
        self._clock = time.monotonic()  # a wall clock may jump
        self._wall_before = float(self._content.get("wall_s", 0.0))
        attempt = {"started": now(), "t_env": t_env, "host": socket.gethostname(), "pid": os.getpid()}
        if resume:
            attempt["changed_settings"] = self._take_over(description)
        attempt |= {key: description[key] for key in OF_ATTEMPT if key in description}
        self._content.setdefault("attempts", []).append(attempt)
        for key in ("ended", "error"):
            self._content.pop(key, None)
        self._write(RUNNING, t_env)

    def _take_over(self, current: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Puts settings and evaluation of this attempt into the record; returns the settings that changed."""
        before = self._content.get("settings", {})
        after = json.loads(json.dumps(current.get("settings", before), default=str))  # as the record will say it
        after.pop(FROM, None)
        changed = {
            key: {"before": before.get(key, MISSING), "now": value}
            for key, value in after.items()
            if key not in before or before[key] != value
        }
        if "settings" in current:
            self._content["settings"] = {**after, **{key: before[key] for key in (FROM,) if key in before}}
        if "evaluation" in current:
            self._content["evaluation"] = dict(current["evaluation"])
        return changed

    def _write(self, status: str, t_env: int) -> None:
        wall_s = self._wall_before + time.monotonic() - self._clock
        self._content |= {"status": status, "t_env": int(t_env), "wall_s": round(wall_s, 3)}
        write_json(self._path, self._content)

    def progress(self, t_env: int) -> None:
        """Notes how far the run is; called when a checkpoint was written, as a resumed run goes on from there."""
        self._write(RUNNING, t_env)

    def end(
        self,
        status: str,
        t_env: int,
        metrics: Mapping[str, float],
        messages: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Notes that the run finished or was stopped.

        Args:
            status: FINISHED or STOPPED.
            t_env: environment steps at the end.
            metrics: last value of every metric; those of an earlier attempt stay where this one measured none.
            messages: what the messages of the last tests cost, pair by pair; None or empty where nothing was sent.
        """
        known = self._content.get("end_metrics") or {}  # an attempt with nothing left to do measures nothing
        self._content |= {"ended": now(), "end_metrics": {**known, **metrics}}
        if messages:
            self._content["messages"] = dict(messages)
        self._write(status, t_env)

    def fail(self, error: BaseException, t_env: int) -> None:
        """Notes that the run ended with an error, and the error's last lines.

        A record that cannot be written (the disk is full) is left as it is: the error that ended the run is the one
        to report, and a run that holds no lock and says "running" shows as dead.
        """
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
        self._content |= {"ended": now(), "error": lines[-ERROR_LINES:]}
        try:
            self._write(FAILED, t_env)
        except RecordError:
            pass


def status_of(folder: str | Path, run: Mapping[str, Any] | None = None) -> str:
    """Returns one of STATES for a run's folder.

    Args:
        folder: the run's folder.
        run: the content of its ``run.json`` if that was read already.

    Raises:
        RecordError: the record or its lock cannot be read.

    Returns:
        The recorded status; "dead" for a run that says it is running while nobody holds its lock. Records made before
        a status was kept say "running" if somebody holds their lock, else "finished".
    """
    run = read_run(folder) if run is None else run
    locked = is_in_use(Path(folder))
    if "status" not in run:
        return RUNNING if locked else FINISHED
    if run["status"] == RUNNING:
        return RUNNING if locked else DEAD
    return str(run["status"])


def is_in_use(folder: Path) -> bool:
    """Returns whether a process works in a run's folder.

    Raises:
        RecordError: the lock cannot be read, so nobody can tell.
    """
    try:
        return is_locked(folder)
    except OSError as err:
        raise RecordError(
            f"{folder / LOCK} cannot be read: {err.strerror}. Whether the run is in progress cannot be told; make the "
            "file readable, or remove it if no process works there."
        ) from err


def attempts_of(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what the record says of every attempt, the first one first: the run with that attempt's versions,
    machine, rules and settings. Older records, which have them once, give as many equal entries.

    Args:
        run: content of ``run.json``.
    """
    found: list[dict[str, Any]] = []
    settings = dict(run.get("settings") or {})  # those of the newest attempt; undone from there
    for attempt in reversed(run.get("attempts") or [{}]):
        own = {key: attempt[key] for key in OF_ATTEMPT if key in attempt}
        found.insert(0, {**run, **own, "settings": settings})
        before = {key: change["before"] for key, change in (attempt.get("changed_settings") or {}).items()}
        settings = {key: value for key, value in {**settings, **before}.items() if before.get(key) != MISSING}
    return found
