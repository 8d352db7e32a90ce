"""Runs what a plan still lacks: some runs at a time, each resumed where it stands, tried once more if it crashes."""

from __future__ import annotations

import enum
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epymarl_lmac.compare.launch import Launcher, StartedRun
from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.compare.process import host_command
from epymarl_lmac.compare.progress import UNKNOWN, Progress, read_progress
from epymarl_lmac.compare.records import Record, best_record, read_records
from epymarl_lmac.record.provenance import FILE_NAME
from epymarl_lmac.record.status import RUNNING, status_of
from epymarl_lmac.stopping import is_hangup, stop_signals

ATTEMPTS = 2  # a crashed run is tried once more
STOP_S = 120.0  # time for a run to save after it was asked to stop
POLL_S = 0.5
LOOK_S = 2.0  # between looks at the metrics files


class State(enum.Enum):
    """Where a run of the grid stands."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "runs in another process"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass
class Task:
    """A cell of the plan and what became of it."""

    cell: Cell
    state: State = State.WAITING
    folder: Path | None = None
    attempts: int = 0
    gpu: str | None = None
    process: StartedRun | None = None
    queued: bool = False  # started, but its cluster has no room for it yet
    progress: Progress = UNKNOWN
    started_at: tuple[float, int] = (0.0, 0)  # clock and steps when this process began
    error: list[str] = field(default_factory=list)

    def state_text(self) -> str:
        """Returns the state in words, with the attempt from the second one on."""
        word = "queued" if self.queued else self.state.value
        return word + (f" (attempt {self.attempts})" if self.attempts > 1 else "")

    def time_left_s(self) -> float | None:
        """Returns the seconds this run still needs at the speed it had so far, or None where unknown."""
        clock, steps = self.started_at
        done = self.progress.t_env - steps
        if self.state is not State.RUNNING or done <= 0:
            return None
        return (time.monotonic() - clock) * max(0, self.cell.t_max - self.progress.t_env) / done


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


class Schedule:
    """Runs the cells of a plan, each as a process of its own, on this machine or where a launcher starts it.

    Args:
        cells: the plan.
        out: the comparison's folder; runs go to ``out/runs``, their output to ``out/logs``.
        gpus: devices to share out, or none.
        key: the metric to show.
        also: further folders of runs whose records count.
        say: shows one line.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        gpus: Sequence[str] = (),
        key: str = "test_return_mean",
        also: Sequence[Path] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.tasks = [Task(cell) for cell in cells]
        self.runs, self.logs = out / "runs", out / "logs"
        self._key, self._also, self._say = key, list(also), say
        self._free_gpus = list(gpus)
        self._shares_gpus = bool(gpus)
        self._stop_signals = 0
        self._looked = 0.0

    # -- the state of things -------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """Finds the record of every task; returns a sentence for each record that cannot be read."""
        records, damaged = read_records([self.runs, *self._also])
        for task in self.tasks:
            if task.state not in (State.RUNNING, State.FAILED):
                self._classify(task, best_record(task.cell, records))
        return damaged

    def _classify(self, task: Task, record: Record | None) -> None:
        task.folder, task.state = None, State.WAITING
        if record is None:
            return
        if record.complete(task.cell.t_max):
            task.folder, task.state = record.folder, State.DONE
        elif record.status == RUNNING:
            task.folder, task.state = record.folder, State.ELSEWHERE
        elif record.resumable and record.folder.parent == self.runs:
            task.folder = record.folder
        if task.folder is not None:
            task.progress = read_progress(task.folder, self._key)

    def count(self, state: State) -> int:
        """Returns how many tasks are in a state."""
        return sum(task.state is state for task in self.tasks)

    # -- running -------------------------------------------------------------------------------------------

    def run(self, launcher: Launcher, jobs: int, show: Callable[[Sequence[Task]], None]) -> bool:
        """Runs everything that is not done.

        Args:
            launcher: starts runs, on this machine or elsewhere.
            jobs: runs at a time.
            show: called again and again with the tasks.

        Returns:
            True if a signal ended it early; all its runs have saved and left by then.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True)
        before = {s: signal.signal(s, self._note_stop) for s in stop_signals()}
        try:
            while not self._stop_signals and self._step(launcher, jobs):
                show(self.tasks)
                time.sleep(POLL_S)
            show(self.tasks)
            return bool(self._stop_signals)
        finally:
            self._end_all(show)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note_stop(self, signum: int, frame: object) -> None:
        self._stop_signals = max(1, self._stop_signals) if is_hangup(signum) else self._stop_signals + 1

    def _step(self, launcher: Launcher, jobs: int) -> bool:
        """Looks after every task once; returns whether any is left."""
        for task in self.tasks:
            if task.state is State.RUNNING and task.process is not None and task.process.poll() is not None:
                self._ended(task)
        if time.monotonic() - self._looked >= LOOK_S:
            self._look_at_progress()
        for task in self.tasks:
            if task.state is State.WAITING and self._has_room(jobs):
                self._start(task, launcher)
        return any(task.state in (State.RUNNING, State.WAITING, State.ELSEWHERE) for task in self.tasks)

    def _has_room(self, jobs: int) -> bool:
        busy = self.count(State.RUNNING) + self.count(State.ELSEWHERE)
        return busy < jobs and (not self._shares_gpus or bool(self._free_gpus))

    def _start(self, task: Task, launcher: Launcher) -> None:
        task.gpu = self._free_gpus.pop(0) if self._shares_gpus else None
        log = self.logs / f"{_slug(task.cell.name)}.log"
        task.process = launcher.start(host_command(task.cell.argv, self.runs, task.folder), log, task.gpu)
        task.queued = not task.process.has_begun
        task.state, task.attempts = State.RUNNING, task.attempts + 1
        task.started_at = (time.monotonic(), task.progress.t_env)
        resumed = f", resumed at step {task.progress.t_env:,}" if task.folder else ""
        self._say(f"{task.cell.name}: started{resumed}")

    def _ended(self, task: Task) -> None:
        """Notes how a process ended: done, to be tried again, or failed."""
        assert task.process is not None
        how, lines = task.process.ending(), task.process.last_lines()
        self._release(task)
        records, _ = read_records([self.runs])
        self._classify(task, best_record(task.cell, records))
        if task.state is State.DONE:
            self._say(f"{task.cell.name}: done")
            return
        task.error = [f"{how}; last lines:", *lines]
        if task.state is State.ELSEWHERE:  # a lost machine's lock may outlive it, a lost connection's run does
            self._say(f"{task.cell.name}: lost ({how}), but its folder is in use; waiting for it")
        elif not self._is_spent(task):
            self._say(f"{task.cell.name}: crashed ({how}); tried again")

    def _is_spent(self, task: Task) -> bool:
        """Notes a waiting run as failed if it has used up its attempts; returns whether it has."""
        if task.state is not State.WAITING or task.attempts < ATTEMPTS:
            return False
        task.state = State.FAILED
        self._say("\n  ".join([f"{task.cell.name}: failed twice: {task.error[0]}", *task.error[1:]]))
        return True

    def _release(self, task: Task) -> None:
        task.process, task.queued = None, False
        if task.gpu is not None:
            self._free_gpus.append(task.gpu)
            task.gpu = None

    def _look_at_progress(self) -> None:
        self._looked = time.monotonic()
        for task in self.tasks:
            if task.state is State.RUNNING:
                self._note_begin(task)
                task.folder = task.folder or self._new_folder(task)
                if task.folder is not None:
                    found = read_progress(task.folder, self._key)
                    if found.t_env >= task.progress.t_env or found.t_env > task.started_at[1]:
                        task.progress = found
            elif task.state is State.ELSEWHERE and task.folder is not None:
                task.progress = read_progress(task.folder, self._key)
                if status_of(task.folder) != RUNNING:
                    records, _ = read_records([self.runs, *self._also])
                    self._classify(task, best_record(task.cell, records))
                    self._is_spent(task)

    def _note_begin(self, task: Task) -> None:
        """Notes that a queued run works; its speed counts from here."""
        if task.queued and task.process is not None and task.process.has_begun:
            task.queued, task.started_at = False, (time.monotonic(), task.progress.t_env)

    def _new_folder(self, task: Task) -> Path | None:
        """Returns the folder that a started run has made, or None while it has none."""
        found = sorted(path.parent for path in self.runs.glob(f"*_{task.cell.run_id}/{FILE_NAME}"))
        running = [folder for folder in found if status_of(folder) == RUNNING]
        return running[-1] if running else None

    def _end_all(self, show: Callable[[Sequence[Task]], None]) -> None:
        """Asks all runs to save and leave, waits, and kills those that do not (or all on a second signal)."""
        running = [task for task in self.tasks if task.process is not None]
        for task in running:
            assert task.process is not None
            task.process.ask_to_stop()
        if running:
            self._say(f"stopping: {len(running)} run{'s' if len(running) > 1 else ''} asked to save")
        deadline, signals = time.monotonic() + STOP_S, self._stop_signals
        for task in running:
            assert task.process is not None
            while not task.process.wait(POLL_S):
                if time.monotonic() > deadline or self._stop_signals > signals:
                    task.process.kill()
            self._release(task)
            task.state = State.STOPPED
        if running:
            show(self.tasks)
