"""From records to numbers: the curves of a comparison, one score a run, and the estimates shown of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from epymarl_lmac.compare import statistics as st
from epymarl_lmac.compare.fairness import Difference
from epymarl_lmac.compare.messages import (
    Awareness,
    ControlRow,
    MessageCost,
    awareness_rows,
    control_rows,
    mean_cost,
    message_cost,
)

OVERSHOOT = 0.05  # of a longer run, tests up to this share of the budget after it still count as its last one
POINTS = 101  # of an averaged curve at most


@dataclass(frozen=True)
class RunCurve:
    """One run's tests."""

    alg: str
    env: str
    seed: int
    steps: np.ndarray  # environment steps, ascending
    values: np.ndarray
    run: Mapping[str, Any]  # content of run.json, or what a foreign record tells in its place
    folder: str
    source: str = "this project"
    evaluation: Mapping[str, Any] | None = None  # what epymarl-lmac evaluate --controls wrote beside it
    protocol: str = ""  # programs that agents spoke by

    def covers(self, t_max: int) -> bool:
        """Whether its tests reach the budget."""
        return len(self.steps) > 0 and bool(self.steps[-1] >= (1 - OVERSHOOT) * t_max)

    def up_to(self, t_max: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns steps and values up to the budget; what a longer run did later is left out.

        Of a run that was trained for this budget the first test at or after it always counts: episodes of small
        budgets may end far behind it, and this is the test of what was trained.
        """
        inside = self.steps <= (1 + OVERSHOOT) * t_max
        if (self.run.get("settings") or {}).get("t_max") == t_max:
            inside |= np.arange(len(self.steps)) == np.searchsorted(self.steps, t_max)
        return self.steps[inside], self.values[inside]


@dataclass
class Comparison:
    """Everything that a page shows."""

    key: str  # the metric compared
    t_max: int
    algs: list[str]
    envs: list[str]
    curves: list[RunCurve]  # complete runs only
    unfinished: list[tuple[str, str, list[str]]] = field(default_factory=list)  # run, state, last lines
    unfair: list[Difference] = field(default_factory=list)
    method: list[Difference] = field(default_factory=list)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    trials: Mapping[str, str] = field(default_factory=dict)  # algorithm -> tuning trials, as stated by the user
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    threshold: float | None = None  # for times; None: 90 % of the best mean of the task

    def of(self, alg: str, env: str) -> list[RunCurve]:
        """Returns an algorithm's runs on an environment by seed."""
        return sorted((c for c in self.curves if (c.alg, c.env) == (alg, env)), key=lambda c: c.seed)


@dataclass(frozen=True)
class Row:
    """An algorithm on a task."""

    alg: str
    env: str
    seeds: tuple[int, ...]
    scores: np.ndarray  # one a run: mean of the tests in the last tenth of the budget
    mean: st.Estimate  # Student's t
    iqm: st.Estimate  # bootstrap over the runs
    median: float
    area: st.Estimate  # of the areas under the runs' curves; Student's t
    reach: st.Reach
    threshold: float
    wall_s: float  # mean over runs; NaN where not recorded
    n_parameters: int | None
    messages: MessageCost  # mean over runs


@dataclass(frozen=True)
class Aggregate:
    """An algorithm over all tasks, scores normalised task by task."""

    alg: str
    iqm: st.Estimate
    mean: st.Estimate
    median: st.Estimate


@dataclass(frozen=True)
class Improvement:
    """The probability that a run of ``better`` beats a run of ``other``."""

    better: str
    other: str
    probability: st.Estimate


@dataclass(frozen=True)
class MeanCurve:
    """The mean over an algorithm's runs on a task, with Student's t intervals."""

    alg: str
    env: str
    n: int
    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray  # NaN for a single run
    high: np.ndarray


@dataclass(frozen=True)
class Summary:
    """All estimates of a comparison."""

    rows: list[Row]  # task by task
    aggregates: list[Aggregate]
    improvements: list[Improvement]
    curves: Mapping[str, Sequence[MeanCurve]]  # by task
    controls: Sequence[ControlRow] = ()  # task by task
    awareness: Sequence[Awareness] = ()  # task by task


def _threshold(comparison: Comparison, env: str) -> float:
    """Returns the level for times: the one asked for, else 90 % of the best algorithm's mean score on the task."""
    if comparison.threshold is not None:
        return comparison.threshold
    best = -math.inf
    for alg in comparison.algs:
        runs = comparison.of(alg, env)
        if runs:
            best = max(best, float(np.mean([_score(run, comparison.t_max) for run in runs])))
    return best - 0.1 * abs(best)


def _score(run: RunCurve, t_max: int) -> float:
    return st.final_score(*run.up_to(t_max), t_max)


def row_of(comparison: Comparison, alg: str, env: str) -> Row | None:
    """Returns the numbers of an algorithm on a task, or None without a complete run."""
    runs = comparison.of(alg, env)
    if not runs:
        return None
    curves = [run.up_to(comparison.t_max) for run in runs]
    scores = np.array([_score(run, comparison.t_max) for run in runs])
    threshold = _threshold(comparison, env)
    walls = [float(run.run.get("wall_s", math.nan)) for run in runs]
    counts = runs[0].run.get("n_parameters")
    return Row(
        alg=alg,
        env=env,
        seeds=tuple(run.seed for run in runs),
        scores=scores,
        mean=st.t_interval(scores),
        iqm=st.bootstrap([scores], st.pooled_iqm),
        median=st.median_of_tasks([scores]),
        area=st.t_interval(np.array([st.area_under(*curve, comparison.t_max) for curve in curves])),
        reach=st.time_to_threshold([st.steps_to(*curve, threshold) for curve in curves]),
        threshold=threshold,
        wall_s=float(np.mean(walls)),
        n_parameters=None if counts is None else int(sum(counts.values())),
        messages=mean_cost([message_cost(run.run) for run in runs]),
    )


def rows_of(comparison: Comparison) -> list[Row]:
    """Returns all rows, task by task."""
    found = (row_of(comparison, alg, env) for env in comparison.envs for alg in comparison.algs)
    return [row for row in found if row is not None]


def _normalised(comparison: Comparison, rows: Sequence[Row]) -> dict[str, list[np.ndarray]]:
    """Returns the normalised scores of the algorithms that have runs on every task, one array a task."""
    scores = {(row.alg, row.env): row.scores for row in rows}
    whole = [alg for alg in comparison.algs if all((alg, env) in scores for env in comparison.envs)]
    found: dict[str, list[np.ndarray]] = {alg: [] for alg in whole}
    for env in comparison.envs:
        present = [scores[alg, env] for alg in comparison.algs if (alg, env) in scores]
        for alg in whole:
            found[alg].append(st.normalised(scores[alg, env], st.task_bounds(present)))
    return found


def _aggregate(alg: str, scores: st.Scores) -> Aggregate:
    statistics = (st.pooled_iqm, st.mean_of_tasks, st.median_of_tasks)
    return Aggregate(alg, *(st.bootstrap(scores, statistic) for statistic in statistics))


def summarise(comparison: Comparison) -> Summary:
    """Returns all estimates of a comparison.

    Aggregates and probabilities of improvement are of the algorithms that have a complete run on every task; pairs are
    in the order of the command line.
    """
    rows = rows_of(comparison)
    scores = _normalised(comparison, rows)
    return Summary(
        rows,
        [_aggregate(alg, tasks) for alg, tasks in scores.items()],
        [Improvement(a, b, st.probability_of_improvement(scores[a], scores[b])) for a, b in combinations(scores, 2)],
        {env: mean_curves(comparison, env) for env in comparison.envs},
        _evaluated(comparison, control_rows),
        _evaluated(comparison, awareness_rows),
    )


def _evaluated(comparison: Comparison, rows_of_one: Callable[..., list[Any]]) -> list[Any]:
    """Returns what the evaluations of every algorithm on every task give, task by task."""
    return [
        row
        for env in comparison.envs
        for alg in comparison.algs
        for row in rows_of_one(
            alg, env, [run.evaluation for run in comparison.of(alg, env) if run.evaluation is not None]
        )
    ]


def mean_curve(comparison: Comparison, alg: str, env: str) -> MeanCurve | None:
    """Returns the averaged curve of an algorithm on a task, or None without a complete run."""
    runs = [run.up_to(comparison.t_max) for run in comparison.of(alg, env)]
    if not runs:
        return None
    first, last = max(steps[0] for steps, _ in runs), min(steps[-1] for steps, _ in runs)
    grid = np.linspace(first, last, min(POINTS, max(2, max(len(steps) for steps, _ in runs))))
    estimates = [st.t_interval(column) for column in np.array([st.on_grid(s, v, grid) for s, v in runs]).T]
    mean, low, high = (np.array([getattr(e, name) for e in estimates]) for name in ("value", "low", "high"))
    return MeanCurve(alg, env, len(runs), grid, mean, low, high)


def mean_curves(comparison: Comparison, env: str) -> list[MeanCurve]:
    """Returns the averaged curves on a task, in the order of the algorithms."""
    found = (mean_curve(comparison, alg, env) for alg in comparison.algs)
    return [curve for curve in found if curve is not None]
