"""One append-only file of metrics a run, ``metrics.jsonl``.

Each line is ``{"t_env": steps, "key": name, "value": number, "time": seconds since 1970}``. Metrics that depend on the
machine's speed have keys that start with ``perf/``; the values of all others are equal to the bit when a run is
repeated. A resumed run appends a line ``{"resumed_after": n}``: of the rows before it the first n count, the rest were
written after the checkpoint and are written again. Where the file had fewer rows than the checkpoint counted (a power
cut took them), n is what was there and ``"missing"`` how many were lost. Nothing is ever rewritten.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from epymarl_lmac.errors import RecordError

FILE_NAME = "metrics.jsonl"
PERF = "perf/"


class Row(NamedTuple):
    """One metric."""

    t_env: int  # environment steps
    key: str
    value: float


class TimedRow(NamedTuple):
    """One metric and when it was written."""

    row: Row
    time: float | None  # seconds since 1970; None in records made before times were kept


RENAMED = {"recon_skill": "recon_r2"}  # names that metrics had in older records -> today's


def _parse(line: str) -> TimedRow | int:
    content = json.loads(line)
    if "resumed_after" in content:
        return int(content["resumed_after"])
    value = content["value"]
    key = RENAMED.get(str(content["key"]), str(content["key"]))
    row = Row(int(content["t_env"]), key, math.nan if value is None else float(value))
    return TimedRow(row, content.get("time"))


def _complete_lines(path: Path) -> Iterator[str]:
    """Yields the lines that were written whole; a run killed while writing leaves a last one that was not."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return iter(text.split("\n")[:-1])


def read_metrics(path: str | Path) -> list[Row]:
    """Returns the rows of a run that count, in the order written; see ``read_timed_metrics``."""
    return [timed.row for timed in read_timed_metrics(path)]


def read_timed_metrics(path: str | Path) -> list[TimedRow]:
    """Returns the rows of a run that count, in the order written, each with its time.

    Args:
        path: the metrics file, or the run's folder.

    Raises:
        RecordError: there is no such file, or a line in its middle is damaged.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise RecordError(f"No metrics at {path}; give the folder of a run (it holds {FILE_NAME}).")
    rows: list[TimedRow] = []
    for number, line in enumerate(_complete_lines(path), start=1):
        if not line:
            continue
        try:
            parsed = _parse(line)
        except (ValueError, KeyError, TypeError) as err:
            raise RecordError(
                f"{path}, line {number} is damaged: {line[:80]!r}. Restore the file from a copy, or remove the run and "
                "start it again."
            ) from err
        if isinstance(parsed, int):
            del rows[parsed:]
        else:
            rows.append(parsed)
    return rows


class MetricsWriter:
    """Appends rows, each in one write.

    Args:
        folder: the run's folder; must exist.
        resume_after: rows that count when a run is resumed; None for a new run. If the file has fewer, those it has
            count, and a warning says how many are missing.

    Raises:
        RecordError: the file cannot be opened, exists though the run is new, or is damaged though it is resumed.
    """

    def __init__(self, folder: Path, resume_after: int | None = None) -> None:
        self.path = folder / FILE_NAME
        self.n_rows = 0
        try:
            if resume_after is None and self.path.exists():
                raise RecordError(f"{self.path} exists already; resume that run or choose another folder.")
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if resume_after is not None:
                self._resume(resume_after)
        except OSError as err:
            raise RecordError(f"Cannot write {self.path}: {err.strerror}.") from err

    def _resume(self, resume_after: int) -> None:
        """Marks the rows that count from here on, and warns if there are fewer than the checkpoint says."""
        self._end_torn_line()
        self.n_rows = min(resume_after, len(read_timed_metrics(self.path)))
        mark = {"resumed_after": self.n_rows}
        if missing := resume_after - self.n_rows:
            mark["missing"] = missing
            logging.getLogger("epymarl_lmac").warning(
                f"warning: {self.path} lacks {missing} of the {resume_after} metrics that were written before the "
                "checkpoint, as after a power cut. The run goes on without them; its curves have a gap there. To "
                "have them, stop it before its next checkpoint, restore the file from a copy and resume again."
            )
        self._append(json.dumps(mark))

    def _end_torn_line(self) -> None:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def _append(self, line: str) -> None:
        data = (line + "\n").encode()
        before = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
        except OSError as err:
            raise RecordError(f"Cannot write {self.path}: {err.strerror}. Rows written so far are whole.") from err
        if written != len(data):
            os.ftruncate(self._fd, before)
            raise RecordError(f"Cannot write {self.path}: the disk is full. Rows written so far are whole.")

    def write(self, key: str, value: float, t_env: int) -> None:
        """Appends one metric. A value that is not finite is stored as null and read back as NaN."""
        value = float(value)
        shown = value if math.isfinite(value) else None
        content = {"t_env": int(t_env), "key": key, "value": shown, "time": round(time.time(), 2)}
        self._append(json.dumps(content))
        self.n_rows += 1

    def sync(self) -> None:
        """Forces the rows so far to the disk; called before a checkpoint, which counts them.

        Raises:
            RecordError: the disk refuses.
        """
        try:
            os.fsync(self._fd)
        except OSError as err:
            raise RecordError(f"Cannot write {self.path}: {err.strerror}. Make room or check the disk.") from err

    def close(self) -> None:
        """Closes the file; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
