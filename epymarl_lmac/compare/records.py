"""Finds the records that belong to a plan: what is finished, what can be resumed, what is running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epymarl_lmac.checkpoint import INDEX
from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.identity import EVALUATION, LOGGING, run_id
from epymarl_lmac.record.provenance import FILE_NAME, read_run
from epymarl_lmac.record.status import FINISHED, RUNNING, status_of

NEEDED = ("algorithm", "task", "seed", "settings")  # what every record of a run has


@dataclass(frozen=True)
class Record:
    """One run's folder and what it says."""

    folder: Path
    run: dict[str, Any]
    status: str
    t_env: int  # steps at its last checkpoint or its end

    @property
    def resumable(self) -> bool:
        """Whether it has a checkpoint."""
        return (self.folder / INDEX).is_file()

    def complete(self, t_max: int) -> bool:
        """Whether it finished with at least ``t_max`` steps."""
        return self.status == FINISHED and self.t_env >= t_max


def read_record(folder: Path) -> Record:
    """Reads the record of a run's folder.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    run = read_run(folder)
    missing = [key for key in NEEDED if key not in run]
    if missing:
        raise RecordError(f"{folder / FILE_NAME} is damaged: it lacks {', '.join(missing)}.")
    try:
        t_env = int(run.get("t_env", run["settings"]["t_max"] if "status" not in run else 0))
        run_id(run["settings"])
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise RecordError(
            f"{folder / FILE_NAME} is damaged: its settings or steps are not what a run writes "
            f"({type(err).__name__}: {err})."
        ) from err
    return Record(folder, run, status_of(folder, run), t_env)


def read_records(roots: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """Returns the records in folders of runs, and one sentence for each that cannot be read."""
    found, damaged = [], []
    for root in roots:
        for path in sorted(root.glob(f"*/{FILE_NAME}")):
            try:
                record = read_record(path.parent)
            except RecordError as err:
                damaged.append(f"{path} is left out: {err}")
                continue
            found.append(record)
    return found, damaged


def belongs(record: Record, cell: Cell) -> bool:
    """Whether a record is of a cell's run: it learns with the same settings and is tested in the same way."""
    settings = record.run["settings"]
    same_tests = all(settings.get(key) == cell.settings.get(key) for key in (*EVALUATION, *LOGGING))
    return same_tests and run_id(settings) == cell.run_id


def best_record(cell: Cell, records: Sequence[Record]) -> Record | None:
    """Returns the record to go on with: one that is complete, else one that is running, else the furthest."""
    mine = [record for record in records if belongs(record, cell)]
    if not mine:
        return None
    return max(mine, key=lambda r: (r.complete(cell.t_max), r.status == RUNNING, r.resumable, r.t_env))
