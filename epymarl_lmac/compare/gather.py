"""Reads the runs of a plan into a ``Comparison``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from epymarl_lmac.compare.fairness import method_differences, recorded_differences, unfair
from epymarl_lmac.compare.messages import read_evaluation
from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.compare.records import Record, best_record, read_records
from epymarl_lmac.compare.results import Comparison, RunCurve
from epymarl_lmac.compare.sacred_folders import foreign_differences
from epymarl_lmac.errors import RecordError
from epymarl_lmac.record.identity import evaluation_of
from epymarl_lmac.record.metrics import read_metrics

DAMAGED = "damaged"  # state of a complete run whose tests cannot be read


def read_tests(record: Record, cell: Cell, key: str) -> RunCurve:
    """Returns the tests of a run.

    Raises:
        RecordError: its metrics are damaged, or it has no metric of that name.
    """
    rows = read_metrics(record.folder)
    points = [(row.t_env, row.value) for row in rows if row.key == key]
    if not points:
        known = ", ".join(sorted({row.key for row in rows if row.key.startswith("test_")}))
        raise RecordError(f"{record.folder} has no metric {key!r}; its tests have: {known}.")
    steps, values = np.array(points, dtype=float).T
    return RunCurve(
        cell.alg,
        cell.env,
        cell.seed,
        steps,
        values,
        record.run,
        str(record.folder),
        evaluation=read_evaluation(record.folder),
        protocol=protocol_text(record.folder),
    )


def protocol_text(folder: Path) -> str:
    """Returns the programs of the protocol that a run played, one after another; "" where it has none.

    Raises:
        RecordError: a program cannot be read.
    """
    try:
        texts = [(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("protocol/k*.py"))]
    except (OSError, UnicodeDecodeError) as err:
        raise RecordError(f"The protocol in {folder} cannot be read: {err}.") from err
    return "".join(f"# {name}\n\n{text}\n" for name, text in texts)


def gather(
    cells: Sequence[Cell],
    roots: Sequence[Path],
    key: str,
    failures: Mapping[str, list[str]],
    foreign: Sequence[RunCurve] = (),
) -> Comparison:
    """Returns what the records of a plan say.

    Args:
        cells: the plan.
        roots: folders of runs.
        key: the metric to compare.
        failures: last lines of the runs that failed in this call, by the cell's name.
        foreign: runs of other programs to put beside ours.
    """
    records, damaged = read_records(roots)
    t_max = cells[0].t_max
    curves, unfinished = [], []
    for cell in cells:
        record = best_record(cell, records)
        try:
            if record is not None and record.complete(t_max):
                curves.append(read_tests(record, cell, key))
                continue
        except RecordError as err:
            unfinished.append((cell.name, DAMAGED, [str(err)]))
            continue
        state = "not started" if record is None else f"{record.status} at step {record.t_env:,}"
        if cell.name in failures:
            state = "failed" if record is None else f"failed at step {record.t_env:,}"
        lines = failures.get(cell.name) or list((record.run.get("error") or []) if record else [])
        unfinished.append((cell.name, state, lines))
    algs = list(dict.fromkeys([*(cell.alg for cell in cells), *(run.alg for run in foreign)]))
    envs = list(dict.fromkeys(cell.env for cell in cells))
    marked = unfair(cells)
    for env in envs:
        ours = {f"{run.alg}, seed {run.seed}": run.run for run in curves if run.env == env}
        planned = {(difference.env, difference.key) for difference in marked}
        marked += [d for d in recorded_differences(env, ours) if (d.env, d.key) not in planned]
    marked += foreign_differences(cells, foreign)
    for run in foreign:
        if not run.covers(t_max):
            unfinished.append((f"{run.alg} on {run.env}, seed {run.seed}", f"ends at step {run.steps[-1]:,.0f}", []))
    return Comparison(
        key=key,
        t_max=t_max,
        algs=algs,
        envs=envs,
        curves=[*curves, *(run for run in foreign if run.covers(t_max))],
        unfinished=unfinished,
        unfair=marked,
        method=method_differences(cells),
        evaluation=evaluation_of(cells[0].settings),
        notes=damaged,
    )
