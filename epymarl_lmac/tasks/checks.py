"""Checks of single environment arguments; every message names the environment, the key and the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from epymarl_lmac.errors import TaskError


def check_keys(env: str, env_args: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuses missing and unknown arguments.

    Raises:
        TaskError: ``env_args`` has other keys than ``keys``.
    """
    names = list(keys)
    missing = [key for key in names if key not in env_args]
    unknown = [key for key in env_args if key not in names]
    if missing or unknown:
        raise TaskError(
            f"{env}: env_args has missing keys {missing} and unknown keys {unknown}; the keys are {names} "
            f"(config/envs/{env}.yaml)."
        )


def check_integer(env: str, key: str, value: Any, low: int, high: int | None = None) -> int:
    """Returns an integer within bounds; raises TaskError for anything else."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise TaskError(f"{env}: {key}={value!r} is not possible; it must be an integer {bounds}.")
    return value


def check_number(env: str, key: str, value: Any, low: float, high: float = float("inf")) -> float:
    """Returns a finite number within bounds; raises TaskError for anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or value == float("inf"):
        bounds = f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise TaskError(f"{env}: {key}={value!r} is not possible; it must be a finite number {bounds}.")
    return float(value)


def check_boolean(env: str, key: str, value: Any) -> bool:
    """Returns a truth value; raises TaskError for anything else."""
    if not isinstance(value, bool):
        raise TaskError(f"{env}: {key}={value!r} must be true or false.")
    return value


def check_choice(env: str, key: str, value: Any, choices: Sequence[str]) -> str:
    """Returns one of ``choices``; raises TaskError for anything else."""
    if value not in choices:
        raise TaskError(f"{env}: {key}={value!r} is not known; choose one of {list(choices)}.")
    return value


def check_integers(env: str, key: str, value: Any, low: int, least: int) -> tuple[int, ...]:
    """Returns a list of at least ``least`` integers, each of at least ``low``; raises TaskError for anything else."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or len(value) < least:
        raise TaskError(f"{env}: {key}={value!r} must be a list of at least {least} integers.")
    return tuple(check_integer(env, f"{key}[{i}]", item, low) for i, item in enumerate(value))
