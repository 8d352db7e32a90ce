"""Compares our statistics with rliable's on the same scores, in an environment of its own.

    python -m venv rliable && rliable/bin/pip install "rliable==1.2.0" "pandas<3" "arch<8"
    rliable/bin/python docs/results/statistics/against_rliable.py

Point values must agree to rounding. Intervals come from a stratified percentile bootstrap with other random numbers on
each side; their ends must agree within what drawing leaves open, which the script measures as four times the standard
deviation of rliable's ends over ten seeds, times the root of two. Ends with 1 if something differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rliable import library, metrics

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

from epymarl_lmac.compare import statistics as ours  # noqa: E402

DRAWS = 2000
SEEDS = range(10)
ROUNDING = 1e-12

Statistic = Callable[[np.ndarray], float]  # of scores (runs, tasks)


def made_up_scores(n_runs: int, n_tasks: int, seed: int) -> np.ndarray:
    """Returns scores (runs, tasks) between 0 and 1, with outliers, and with ties in the last task."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 5, (n_runs, n_tasks)) + np.linspace(0, 0.4, n_tasks)
    scores[0] = 0
    scores[:, -1] = scores[:, -1].round(1)
    return scores


def by_task(scores: np.ndarray) -> list[np.ndarray]:
    """Returns one array of runs a task, the form of our functions."""
    return list(scores.T)


def agree(name: str, mine: float, theirs: float, tolerance: float) -> bool:
    """Prints one row; returns whether the two numbers agree."""
    is_same = abs(mine - theirs) <= tolerance
    print(f"{name:<58} {mine:>10.6f} {theirs:>10.6f} {abs(mine - theirs):>10.1e} {'same' if is_same else 'DIFFERS'}")
    return is_same


def interval_rows(name: str, mine: ours.Estimate, scores: tuple[np.ndarray, ...], statistic: Statistic) -> list[bool]:
    """Compares the ends of an interval with rliable's; returns whether each agrees."""
    ends = []
    for seed in SEEDS:
        data = {"x": scores if len(scores) > 1 else scores[0]}
        _, intervals = library.get_interval_estimates(
            data,
            lambda *x: np.array([statistic(*x)]),
            reps=DRAWS,
            random_state=np.random.RandomState(seed),
        )
        ends.append(intervals["x"].ravel())
    centre, spread = np.mean(ends, axis=0), np.std(ends, axis=0, ddof=1)
    tolerance = 4 * np.sqrt(2) * np.maximum(spread, 1e-4)
    pairs = zip(("low", "high"), mine[1:3], centre, tolerance, strict=True)
    return [agree(f"{name}, {end}", float(a), float(b), float(limit)) for end, a, b, limit in pairs]


def main() -> int:
    print(", ".join(f"{package} {version(package)}" for package in ("rliable", "arch", "numpy", "scipy")))
    print(f"\n{'':<58} {'ours':>10} {'rliable':>10} {'difference':>10}")
    same: list[bool] = []
    for n_runs, n_tasks in ((5, 1), (5, 4), (10, 3), (3, 2)):
        x, y = made_up_scores(n_runs, n_tasks, 1), made_up_scores(n_runs, n_tasks, 2) - 0.05
        size = f"{n_runs} runs, {n_tasks} task{'s' if n_tasks > 1 else ''}"
        aggregates: list[tuple[str, Callable[[ours.Scores], float], Statistic]] = [
            ("interquartile mean", ours.pooled_iqm, metrics.aggregate_iqm),
            ("mean", ours.mean_of_tasks, metrics.aggregate_mean),
        ]
        if n_tasks > 1:  # of one task rliable's median is its mean over runs, ours the median over runs
            aggregates.append(("median", ours.median_of_tasks, metrics.aggregate_median))
        for name, mine, theirs in aggregates:
            same.append(agree(f"{name}, {size}", mine(by_task(x)), float(theirs(x)), ROUNDING))
            same += interval_rows(f"{name}, {size}", ours.bootstrap(by_task(x), mine, n_resamples=DRAWS), (x,), theirs)
        better = ours.probability_of_improvement(by_task(x), by_task(y), n_resamples=DRAWS)
        theirs_better = float(metrics.probability_of_improvement(x, y))
        same.append(agree(f"probability of improvement, {size}", better.value, theirs_better, ROUNDING))
        same += interval_rows(f"probability of improvement, {size}", better, (x, y), metrics.probability_of_improvement)
    print(f"\n{sum(same)} of {len(same)} agree")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
