"""The grid of a comparison: algorithms x environments x seeds, each cell with its checked settings.

Read next: ``fairness.py`` (may these be compared?), ``records.py`` (what is done already), ``schedule.py`` (runs the
rest).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.record.identity import run_id
from epymarl_lmac.record.mongo import URL_VARIABLE
from epymarl_lmac.settings import load_settings
from epymarl_lmac.settings.command_line import parse_update
from epymarl_lmac.settings.load import merge

# How every learning curve of a comparison is tested, unless the command line says otherwise.
EVALUATION = {"test_greedy": True, "test_nepisode": 100, "evaluation_epsilon": 0.0}
TESTS_AT_LEAST = 20  # tests in a run; the interval of the environment's file is shortened if it gives fewer
TASK_KEYS = ("map_name", "scenario", "env_name", "key")  # names that environments give to their task
_SUFFIXES = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    alg: str  # as given on the command line
    env: str  # as given, e.g. "sc2:bane_vs_hM"
    seed: int
    settings: Mapping[str, Any]  # all of them, checked
    argv: tuple[str, ...]  # arguments of the host's command line, without the results folder

    @property
    def run_id(self) -> str:
        """Returns the hash of what this run will learn with."""
        return run_id(self.settings)

    @property
    def name(self) -> str:
        """Returns e.g. ``qmix on lbf, seed 1``."""
        return f"{self.alg} on {self.env}, seed {self.seed}"

    @property
    def t_max(self) -> int:
        """Returns the budget, steps."""
        return int(self.settings["t_max"])


def parse_steps(text: str) -> int:
    """Returns the number of steps that ``2M``, ``500k``, ``1e6`` or ``20000`` stands for.

    Raises:
        SettingsError: it is none of these, or below 1.
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([km]?)", text.strip().lower())
    try:
        steps = float(match[1]) * _SUFFIXES[match[2]] if match else 0
    except ValueError:
        steps = 0
    if steps < 1 or not float(steps).is_integer():  # 1e400 is infinite
        raise SettingsError(f"--t-max {text!r} is no number of steps; write e.g. 2M, 500k or 20000.", "--t-max")
    return int(steps)


def parse_seeds(text: str) -> list[int]:
    """Returns seeds 1 to n for a number n, or the seeds of a list such as ``3,4,7``.

    Raises:
        SettingsError: neither, a seed twice, or none.
    """
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        seeds = []
    if "," not in text and seeds:
        seeds = list(range(1, seeds[0] + 1))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise SettingsError(
            f"--seeds {text!r}: give a number of seeds (5) or a list without repeats (1,2,7).", "--seeds"
        )
    return seeds


def parse_names(text: str, flag: str) -> list[str]:
    """Returns the names of a comma-separated list.

    Raises:
        SettingsError: no name, or one twice.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names or len(set(names)) != len(names):
        raise SettingsError(f"{flag} {text!r}: give names separated by commas, each once.", flag)
    return names


def _task_update(values: Mapping[str, Any], task: str) -> list[str]:
    """Returns the update that chooses a task of an environment, under that environment's own name for it."""
    if not task:
        return []
    key = next((f"env_args.{key}" for key in TASK_KEYS if key in values["env_args"]), "task")
    return [f"{key}={task}"]


def _evaluation_updates(values: Mapping[str, Any], t_max: int, updates: Sequence[str]) -> list[str]:
    """Returns the updates that fix how runs are tested; what the user set is left alone."""
    chosen = {parse_update(text)[0] for text in updates}
    fixed = [f"{key}={value}" for key, value in EVALUATION.items() if key not in chosen]
    if "test_interval" not in chosen:
        interval = min(int(values["test_interval"]), max(1, t_max // TESTS_AT_LEAST))
        fixed.append(f"test_interval={interval}")
    return fixed


@functools.lru_cache(maxsize=256)
def _configured(alg: str, env: str) -> Mapping[str, Any]:
    """Returns the merged values of an algorithm and an environment; read once, a plan asks for them seed by seed."""
    return merge(alg, env)


def make_cell(alg: str, env: str, seed: int, t_max: int, updates: Sequence[str] = ()) -> Cell:
    """Returns one run of the grid with its settings checked.

    Args:
        alg: name of a file in config/algs.
        env: ``ENV`` or ``ENV:TASK``.
        seed: the run's seed.
        t_max: the budget, steps.
        updates: ``key=value`` texts for all runs.

    Raises:
        SettingsError: an unknown name, key or value.
    """
    base, _, task = env.partition(":")
    words = [
        *_task_update(_configured(alg, base), task),
        *_evaluation_updates(_configured(alg, base), t_max, updates),
        *updates,
        f"t_max={t_max}",
        f"seed={seed}",
    ]
    settings = vars(load_settings(alg, base, words))
    return Cell(alg, env, seed, settings, (f"--config={alg}", f"--env-config={base}", "with", *words))


def make_plan(
    algs: Sequence[str], envs: Sequence[str], seeds: Sequence[int], t_max: int, updates: Sequence[str] = ()
) -> list[Cell]:
    """Returns all runs of the grid: seed by seed, so that an early stop leaves all algorithms equally far.

    Raises:
        SettingsError: an unknown name, key or value; a setting that the grid itself decides.
    """
    for text in updates:
        key = parse_update(text)[0]
        if key in ("seed", "t_max", "checkpoint_path", "local_results_path", "evaluate"):
            raise SettingsError(f"{key} is decided by compare itself; take it out of 'with ...'.", key)
        if key == "mongo_url":  # it may hold a password, and commands are shown on the page
            raise SettingsError(f"Give mongo_url to compare in the environment variable {URL_VARIABLE}.", key)
    return [make_cell(alg, env, seed, t_max, updates) for seed in seeds for env in envs for alg in algs]
