"""The numbers of a comparison. One score a run: the seed is the replicate, never the episode.

A **score** is one number of one run, e.g. its final return. Scores of one algorithm come as one array a task (runs may
differ in number from task to task). Nothing here knows of files or algorithms.

Sources: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021
(interquartile mean, stratified bootstrap, probability of improvement); Gorsane et al., Towards a Standardised
Performance Evaluation Protocol for Cooperative MARL, NeurIPS 2022 (min-max normalisation by task).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import integrate, stats

CONFIDENCE = 0.95
RESAMPLES = 2000
BOOTSTRAP_SEED = 0  # intervals must not change from one call to the next

Scores = Sequence[np.ndarray]  # one array of run scores a task


class Estimate(NamedTuple):
    """A number, its interval and what it rests on."""

    value: float
    low: float  # NaN where no interval exists
    high: float
    n: int  # runs

    @property
    def has_interval(self) -> bool:
        """Whether there were enough runs for an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


# -- points ------------------------------------------------------------------------------------------------


def interquartile_mean(scores: np.ndarray) -> float:
    """Returns the mean of the middle half: the lowest and the highest quarter (rounded down) of the runs are left out.

    With fewer than four runs nothing is left out and this is the mean.
    """
    ordered = np.sort(np.asarray(scores, dtype=float), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def pooled_iqm(tasks: Scores) -> float:
    """Returns the interquartile mean over the runs of all tasks together."""
    return interquartile_mean(np.concatenate([np.asarray(task, dtype=float) for task in tasks]))


def mean_of_tasks(tasks: Scores) -> float:
    """Returns the mean over tasks of the mean over runs: every task counts the same."""
    return float(np.mean([np.mean(task) for task in tasks]))


def median_of_tasks(tasks: Scores) -> float:
    """Returns the median over tasks of the mean over runs; of one task, the median over its runs."""
    if len(tasks) == 1:
        return float(np.median(tasks[0]))
    return float(np.median([np.mean(task) for task in tasks]))


# -- intervals ---------------------------------------------------------------------------------------------


def t_interval(scores: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the mean of one task's runs with Student's t interval for the real number of runs.

    One run has no interval; runs that all agree have one of width 0.
    """
    scores = np.asarray(scores, dtype=float)
    n, mean = len(scores), float(np.mean(scores))
    if n < 2:
        return Estimate(mean, np.nan, np.nan, n)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * np.std(scores, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def _resample(tasks: Scores, rng: np.random.Generator) -> list[np.ndarray]:
    """Draws the runs of every task anew, with replacement, task by task."""
    return [task[rng.integers(len(task), size=len(task))] for task in tasks]


def _percentiles(draws: Sequence[float], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def bootstrap(
    tasks: Scores,
    statistic: Callable[[Scores], float],
    confidence: float = CONFIDENCE,
    n_resamples: int = RESAMPLES,
) -> Estimate:
    """Returns a statistic over tasks with its stratified percentile bootstrap interval.

    Args:
        tasks: one array of scores a task.
        statistic: takes such a sequence.
        confidence: share of the draws inside the interval.
        n_resamples: number of draws.

    Returns:
        No interval if some task has a single run: drawing it again and again would claim a certainty that is not there.
    """
    tasks = [np.asarray(task, dtype=float) for task in tasks]
    value, n = statistic(tasks), sum(len(task) for task in tasks)
    if min(len(task) for task in tasks) < 2:
        return Estimate(value, np.nan, np.nan, n)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [statistic(_resample(tasks, rng)) for _ in range(n_resamples)]
    return Estimate(value, *_percentiles(draws, confidence), n)


# -- two algorithms ----------------------------------------------------------------------------------------


def _share_above(x: np.ndarray, y: np.ndarray) -> float:
    """Returns P(X > Y) + P(X = Y) / 2 over all pairs of runs: the Mann-Whitney statistic over its largest value."""
    return float(np.mean((x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])))


def probability_of_improvement(
    x: Scores, y: Scores, confidence: float = CONFIDENCE, n_resamples: int = RESAMPLES
) -> Estimate:
    """Returns the probability that a run of X beats a run of Y on the same task, the mean over tasks.

    Args:
        x: one array of scores a task.
        y: the same tasks in the same order.
        confidence: share of the draws inside the interval.
        n_resamples: draws of the stratified bootstrap; both algorithms' runs are drawn.

    Returns:
        0.5 means no difference. ``n`` counts the runs of both; no interval if a task has a single run of one of them.
    """
    x, y = [np.asarray(task, dtype=float) for task in x], [np.asarray(task, dtype=float) for task in y]

    def share(a: Scores, b: Scores) -> float:
        return float(np.mean([_share_above(one, other) for one, other in zip(a, b, strict=True)]))

    n = sum(len(task) for task in [*x, *y])
    if min(len(task) for task in [*x, *y]) < 2:
        return Estimate(share(x, y), np.nan, np.nan, n)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [share(_resample(x, rng), _resample(y, rng)) for _ in range(n_resamples)]
    return Estimate(share(x, y), *_percentiles(draws, confidence), n)


# -- normalisation -----------------------------------------------------------------------------------------


def task_bounds(algorithms: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the numbers that become 0 and 1 when a task is put beside others.

    Args:
        algorithms: the task's scores, one array an algorithm.

    Returns:
        (0, 1) if all scores lie there already (success rates, normalised returns), else the smallest and the largest
        score of all algorithms.
    """
    together = np.concatenate([np.asarray(one, dtype=float) for one in algorithms])
    low, high = float(together.min()), float(together.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def normalised(scores: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Returns scores with ``bounds`` moved to 0 and 1; all 0 if the bounds meet."""
    low, high = bounds
    return np.zeros(len(scores)) if high == low else (np.asarray(scores, dtype=float) - low) / (high - low)


# -- learning curves ---------------------------------------------------------------------------------------


def on_grid(steps: np.ndarray, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Returns a run's values at the steps of ``grid``, interpolated linearly; NaN beyond its last record."""
    found = np.interp(grid, steps, values)
    found[grid > steps[-1]] = np.nan
    return found


def final_score(steps: np.ndarray, values: np.ndarray, t_max: int, window: float = 0.1) -> float:
    """Returns the mean over the tests in the last part of the budget.

    Args:
        steps: environment steps of the tests, ascending.
        values: their results.
        t_max: the budget, steps.
        window: the last part as a share of ``t_max``.

    Returns:
        The last test's result if no test lies there.
    """
    late = values[steps >= (1 - window) * t_max]
    return float(np.mean(late)) if len(late) else float(values[-1])


def area_under(steps: np.ndarray, values: np.ndarray, t_max: int) -> float:
    """Returns the mean height of a learning curve between its first test and the budget (trapezoids).

    Args:
        steps: environment steps of the tests, ascending.
        values: their results.
        t_max: the budget, steps; a test beyond it counts up to it.

    Returns:
        NaN for a single test.
    """
    end = min(float(t_max), float(steps[-1]))
    grid = np.append(steps[steps < end], end)
    if len(grid) < 2:
        return float("nan")
    return float(integrate.trapezoid(np.interp(grid, steps, values), grid) / (grid[-1] - grid[0]))


def steps_to(steps: np.ndarray, values: np.ndarray, threshold: float) -> float:
    """Returns the environment steps of the first test that reaches ``threshold``; infinity if none does."""
    reached = np.flatnonzero(values >= threshold)
    return float(steps[reached[0]]) if len(reached) else float("inf")


class Reach(NamedTuple):
    """How fast runs reached a threshold."""

    median_steps: float  # over all runs; infinity if half of them or more never did
    n_reached: int
    n: int


def time_to_threshold(run_steps: Sequence[float]) -> Reach:
    """Returns the median of ``steps_to`` over runs; a run that never arrived counts as infinitely slow."""
    times = np.asarray(run_steps, dtype=float)
    ordered = np.sort(times)
    middle = ordered[(len(times) - 1) // 2 : len(times) // 2 + 1]
    return Reach(float(np.mean(middle)), int(np.isfinite(times).sum()), len(times))
