"""Reads the Sacred folders of EPyMARL and PyMARL2, so that an old run can stand beside ours.

A Sacred run's folder holds ``config.json`` and the metrics in ``metrics.json`` (EPyMARL) or in ``info.json`` (both),
there as ``key`` and ``key_T``; numbers may be wrapped by jsonpickle as ``{"value": number}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from epymarl_lmac.compare.fairness import GROUPS, Difference
from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.compare.results import RunCurve
from epymarl_lmac.errors import RecordError

SOURCE = "a Sacred record"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise RecordError(f"{path} cannot be read: {err}") from err
    if not isinstance(content, dict):
        raise RecordError(f"{path} must hold names and values.")
    return content


def _number(value: Any) -> float:
    """Returns a number that may be wrapped, ``None`` as NaN."""
    if isinstance(value, Mapping):
        value = value.get("value")
    return math.nan if value is None else float(value)


def read_points(folder: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps and values of a metric, by step.

    Raises:
        RecordError: there is none, or its file is damaged; the metrics that there are, are listed.
    """
    metrics, info = _read(folder / "metrics.json"), _read(folder / "info.json")
    try:
        if key in metrics:
            steps, values = metrics[key]["steps"], metrics[key]["values"]
        elif key in info and f"{key}_T" in info:
            steps, values = info[f"{key}_T"], info[key]
        else:
            known = sorted({*metrics, *(name for name in info if f"{name}_T" in info)})
            raise RecordError(f"{folder} has no metric {key!r}; it has: {', '.join(known) or 'none'}.")
        points = sorted(zip(map(_number, steps), map(_number, values), strict=True))
    except (KeyError, TypeError, ValueError) as err:
        raise RecordError(f"The metric {key!r} in {folder} is damaged: {err}.") from err
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    if not finite:
        raise RecordError(f"{folder} has no value of {key!r}.")
    steps_array, values_array = np.array(finite, dtype=float).T
    return steps_array, values_array


def _wall_s(run: Mapping[str, Any]) -> float:
    """Returns the seconds between Sacred's start and stop; NaN where they are not there."""
    try:
        return (datetime.fromisoformat(run["stop_time"]) - datetime.fromisoformat(run["start_time"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return math.nan


def read_sacred_run(folder: Path, env: str, key: str) -> RunCurve:
    """Returns one Sacred run.

    Args:
        folder: the run's folder, e.g. ``results/sacred/qmix/lbf/1``.
        env: the environment of our plan that it stands beside.
        key: the metric to read.

    Raises:
        RecordError: it is no Sacred folder, is damaged, or has no such metric.
    """
    config = _read(folder / "config.json")
    if "name" not in config:
        raise RecordError(f"{folder} is no EPyMARL or PyMARL2 record: its config.json has no 'name'.")
    steps, values = read_points(folder, key)
    run = {"settings": config, "wall_s": _wall_s(_read(folder / "run.json"))}
    seed = int(config.get("seed") or 0)
    return RunCurve(f"{config['name']} (Sacred)", env, seed, steps, values, run, str(folder), SOURCE)


def read_sacred(root: Path, env: str, key: str) -> list[RunCurve]:
    """Returns all Sacred runs under a folder.

    Raises:
        RecordError: there is none, one is damaged, or two are of one algorithm and seed.
    """
    folders = sorted(path.parent for path in root.rglob("config.json"))
    if not folders:
        raise RecordError(f"No Sacred record under {root}: no folder there has a config.json.")
    runs: dict[tuple[str, int], RunCurve] = {}
    for folder in folders:
        run = read_sacred_run(folder, env, key)
        twin = runs.setdefault((run.alg, run.seed), run)
        if twin is not run:
            raise RecordError(
                f"{twin.folder} and {folder} are both {run.alg} with seed {run.seed}; name the folder of one of them."
            )
    return list(runs.values())


def foreign_differences(cells: Sequence[Cell], foreign: Sequence[RunCurve]) -> list[Difference]:
    """Returns what Sacred records say differently from our plan, of what a comparison needs equal.

    Settings are compared where both programs have one of that name; what the environment was cannot be known.
    """
    ours = {cell.env: cell.settings for cell in cells}
    found = []
    for run in foreign:
        theirs, settings = run.run["settings"], ours[run.env]
        for group, keys in GROUPS.items():
            for key in keys:
                if key != "env" and key in theirs and theirs[key] != settings.get(key):
                    values = {"plan": settings.get(key), f"{run.alg}, seed {run.seed}": theirs[key]}
                    found.append(Difference(run.env, group, key, values))
        values = {"plan": "see the record", f"{run.alg}, seed {run.seed}": "not recorded by its program"}
        found.append(Difference(run.env, "environment rules", "rules and version", values))
    return found
