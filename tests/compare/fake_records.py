"""Records and runs made by hand, without training."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from epymarl_lmac.compare.plan import Cell, make_cell
from epymarl_lmac.compare.results import Comparison, RunCurve

FAKE_HOST = Path(__file__).with_name("fake_training.py")


@functools.cache
def cell(alg="qmix", seed=1, t_max=1000, env="lookout", updates=()) -> Cell:
    """Returns a small cell."""
    return make_cell(alg, env, seed, t_max, updates)


def write_run(root: Path, of: Cell, status="finished", t_env=None, name=None, values=(0.0, 0.5, 1.0), **extra) -> Path:
    """Writes the record of a cell's run and returns its folder; tests are spread evenly over its steps."""
    folder = root / (name or f"{of.alg}_{of.env}_seed{of.seed}")
    folder.mkdir(parents=True)
    t_env = of.t_max if t_env is None else t_env
    run = {
        "algorithm": of.alg,
        "task": of.env,
        "seed": of.seed,
        "status": status,
        "t_env": t_env,
        "settings": dict(of.settings),
        "environment_rules": "lookout 1",
        "folder": folder.name,
        **extra,
    }
    (folder / "run.json").write_text(json.dumps(run))
    rows = [
        {"t_env": int(step), "key": "test_return_mean", "value": value}
        for step, value in zip(np.linspace(0, t_env, len(values)), values, strict=True)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def curve(alg: str, env: str, seed: int, height: float, t_max=100, **run) -> RunCurve:
    """Returns a run that climbs straight from 0 to ``height``."""
    steps = np.linspace(0, t_max, 11)
    return RunCurve(alg, env, seed, steps, height * steps / t_max, run, f"{alg}_{env}_{seed}")


def comparison(**changes) -> Comparison:
    """Returns two algorithms on two tasks, three seeds each: ``good`` ends 0.4 above ``bad``."""
    curves = [
        curve(alg, env, seed, height + 0.01 * seed, wall_s=60.0, n_parameters={"agents": 10, "mixer": 5})
        for alg, height in (("good", 0.8), ("bad", 0.4))
        for env in ("a", "b")
        for seed in (1, 2, 3)
    ]
    return Comparison("test_return_mean", 100, ["good", "bad"], ["a", "b"], curves, **changes)
