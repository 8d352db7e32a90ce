"""What must be equal before two algorithms are compared, checked before the first run and again on the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from epymarl_lmac.compare.plan import Cell
from epymarl_lmac.errors import SettingsError
from epymarl_lmac.record.identity import EVALUATION, learning_settings, protocol_fingerprint
from epymarl_lmac.record.status import attempts_of

GROUPS: dict[str, tuple[str, ...]] = {
    "environment rules": ("env", "common_reward", "reward_scalarisation"),  # and all env_args
    "update ratio": ("updates_per_episode", "batch_size", "batch_size_run"),
    "evaluation protocol": EVALUATION,
    "step budget": ("t_max",),
}
RECORDED = {"environment_rules": "environment rules and engine", "packages": "package versions", "git": "source code"}
NOT_A_METHOD = ("name", "label", "seed")


@dataclass(frozen=True)
class Difference:
    """Something that is not the same for all algorithms on one environment."""

    env: str
    group: str  # one of GROUPS, of RECORDED's values, "protocol", or "method" (allowed)
    key: str
    values: Mapping[str, Any]  # algorithm (or run) -> value

    def __str__(self) -> str:
        shown = ", ".join(f"{name}: {value}" for name, value in self.values.items())
        return f"{self.env}: {self.group}: {self.key} ({shown})"


def _compared(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    found = {key: settings.get(key) for key in GROUPS[group]}
    if group == "environment rules":
        found |= {f"env_args.{key}": value for key, value in settings["env_args"].items()}
    return found


def _differences(env: str, group: str, found: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Returns the keys on which the mappings disagree."""
    keys = sorted({key for one in found.values() for key in one})
    rows = {key: {name: one.get(key) for name, one in found.items()} for key in keys}
    return [
        Difference(env, group, key, values)
        for key, values in rows.items()
        if any(value != next(iter(values.values())) for value in values.values())
    ]


def _by_environment(cells: Iterable[Cell]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Returns environment -> algorithm -> settings."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for cell in cells:
        found.setdefault(cell.env, {}).setdefault(cell.alg, cell.settings)
    return found


def unfair(cells: Iterable[Cell]) -> list[Difference]:
    """Returns what differs between the algorithms of a plan though a comparison needs it equal."""
    return [
        difference
        for env, algs in _by_environment(cells).items()
        for group in GROUPS
        for difference in _differences(env, group, {alg: _compared(s, group) for alg, s in algs.items()})
    ]


def method_differences(cells: Iterable[Cell]) -> list[Difference]:
    """Returns the settings that differ because the methods do; shown, never refused."""
    compared = {key for keys in GROUPS.values() for key in keys} | set(NOT_A_METHOD)
    found = []
    for env, algs in _by_environment(cells).items():
        methods = {
            alg: {
                key: value
                for key, value in learning_settings(settings).items()
                if key not in compared and not key.startswith("env_args.")
            }
            for alg, settings in algs.items()
        }
        found += _differences(env, "method", methods)
    return found


def require_fair(cells: Sequence[Cell], allow: bool) -> list[Difference]:
    """Returns what is unfair in a plan if that is allowed.

    Raises:
        SettingsError: something is unfair and ``allow`` is False.
    """
    found = unfair(cells)
    if found and not allow:
        raise SettingsError(
            "These algorithms would not be compared on equal terms:\n"
            + "\n".join(f"  {difference}" for difference in found)
            + "\nSet them equal with 'with key=value', or add --allow-unfair to run them and mark the page."
        )
    return found


def recorded_differences(env: str, runs: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Returns what the records of one environment's runs disagree on though the plan could not know it.

    A run that was resumed with other versions, rules or tests is named once more for the attempt that differs. Runs of
    one algorithm must also share their protocol.

    Args:
        env: the environment.
        runs: name of the run -> content of its ``run.json``.
    """
    runs, found = _by_attempt(runs), []
    for key, group in RECORDED.items():
        views = {}
        for name, run in runs.items():
            value = run.get(key)
            views[name] = value if isinstance(value, Mapping) else {key: value}
        found += _differences(env, group, views)
    for group in GROUPS:
        if group != "step budget":  # the plan's own budget holds; a longer run is cut there
            found += _differences(env, group, {name: _compared(run["settings"], group) for name, run in runs.items()})
    return found + _other_protocols(env, runs)


def _other_protocols(env: str, runs: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Returns algorithms whose runs do not share one protocol: a bundle may be rewritten between two of them."""
    by_algorithm: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, run in runs.items():
        if manifest := (run.get("communication") or {}).get("protocol"):
            same = by_algorithm.setdefault(str(run.get("algorithm")), {})
            same[name] = {"protocol": protocol_fingerprint(manifest)}
    return [d for views in by_algorithm.values() for d in _differences(env, "protocol", views)]


def _by_attempt(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns the runs, and under a name of its own each later attempt that differs from the one before it."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, run in runs.items():
        attempts = attempts_of(run)
        found[name] = attempts[0]
        for number, (before, after) in enumerate(pairwise(attempts), start=2):
            if before != after:
                found[f"{name}, attempt {number}"] = after
    return found
