"""Names and types of all settings, and the rules between them. Values live in ``config/`` only."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from epymarl_lmac.errors import SettingsError


@dataclass(frozen=True)
class RunSettings:
    """The keys of ``config/default.yaml``, where each is explained."""

    name: str
    label: str
    seed: int
    runner: str
    env: str
    env_args: dict
    common_reward: bool
    reward_scalarisation: str
    t_max: int
    batch_size_run: int
    updates_per_episode: float
    n_threads: int
    use_cuda: bool
    test_nepisode: int
    test_interval: int
    test_greedy: bool
    log_interval: int
    runner_log_interval: int
    learner_log_interval: int
    save_model: bool
    save_model_interval: int
    checkpoint_path: str
    evaluate: bool
    render: bool
    local_results_path: str
    mongo_url: str
    gamma: float
    batch_size: int
    buffer_size: int
    buffer_cpu_only: bool
    optimiser: str
    lr: float
    optim_alpha: float
    optim_eps: float
    grad_norm_clip: float
    double_q: bool
    standardise_rewards: bool
    standardise_returns: bool
    target_update_interval_or_tau: float
    action_selector: str
    epsilon_start: float
    epsilon_finish: float
    epsilon_anneal_time: int
    evaluation_epsilon: float
    learner: str
    mac: str
    agent: str
    mixer: str | None
    agent_output_type: str
    hidden_dim: int
    use_rnn: bool
    obs_last_action: bool
    obs_agent_id: bool
    add_state: bool
    mixing_embed_dim: int
    hypernet_layers: int
    hypernet_embed: int


class Settings(SimpleNamespace):
    """The settings of one run, readable as attributes and fixed after start.

    Sizes that are known once the environment exists are added by ``with_values``, which returns a new object.
    """

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"Settings are fixed after start; tried to set {key}={value!r}.")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"Settings are fixed after start; tried to delete {key}.")

    def with_values(self, **values: Any) -> Settings:
        """Returns a copy with further or other values."""
        return Settings(**{**vars(self), **values})


def suggestion(key: str, known: Iterable[str]) -> str:
    """Returns "did you mean ...?" for the nearest known key, or ""."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def types_of(schema: type) -> dict[str, Any]:
    """Returns the fields of a dataclass type and their types."""
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def _fits(value: Any, expected: Any) -> bool:
    if isinstance(expected, types.UnionType) or typing.get_origin(expected) is typing.Union:
        return any(_fits(value, option) for option in typing.get_args(expected))
    if expected is type(None):
        return value is None
    if expected is bool:
        return isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    if expected is dict:
        return isinstance(value, Mapping)
    return isinstance(value, expected)


def _type_name(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) else str(expected).replace("None", "null")


def check_types(values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises SettingsError for an unknown key, a missing key or a value of another type."""
    for key in values:
        if key not in expected:
            raise SettingsError(f"Unknown setting {key!r}{suggestion(key, expected)}", key)
    for key, kind in expected.items():
        if key not in values:
            raise SettingsError(f"Setting {key!r} is missing; give it in the algorithm's or environment's yaml.", key)
        if not _fits(values[key], kind):
            raise SettingsError(f"{key}={values[key]!r} must be of type {_type_name(kind)}.", key)


_AT_LEAST = {
    "seed": 0,
    "t_max": 1,
    "batch_size_run": 1,
    "n_threads": 1,
    "test_nepisode": 1,
    "test_interval": 1,
    "log_interval": 1,
    "runner_log_interval": 0,
    "learner_log_interval": 0,
    "save_model_interval": 1,
    "batch_size": 1,
    "buffer_size": 1,
    "hidden_dim": 1,
    "epsilon_anneal_time": 0,
}
_POSITIVE = ("updates_per_episode", "lr", "grad_norm_clip", "target_update_interval_or_tau")
_SHARES = ("gamma", "epsilon_start", "epsilon_finish", "evaluation_epsilon", "optim_alpha")


def validate(values: Mapping[str, Any]) -> None:
    """Checks ranges and the rules between settings.

    Raises:
        SettingsError: naming the value, the limit and the key.
    """
    for key, low in _AT_LEAST.items():
        if values[key] < low:
            raise SettingsError(f"{key}={values[key]} must be at least {low}.", key)
    for key in _POSITIVE:
        if not values[key] > 0:
            raise SettingsError(f"{key}={values[key]} must be greater than 0.", key)
    for key in _SHARES:
        if not 0 <= values[key] <= 1:
            raise SettingsError(f"{key}={values[key]} must lie between 0 and 1.", key)
    if values["epsilon_finish"] > values["epsilon_start"]:
        raise SettingsError(
            f"epsilon_finish={values['epsilon_finish']} is above epsilon_start={values['epsilon_start']}.",
            "epsilon_finish",
        )
    if values["buffer_size"] < values["batch_size"]:
        raise SettingsError(
            f"buffer_size={values['buffer_size']} episodes cannot fill batch_size={values['batch_size']}; "
            "make the buffer at least as large.",
            "buffer_size",
        )
    if values["buffer_size"] < values["batch_size_run"]:
        raise SettingsError(
            f"buffer_size={values['buffer_size']} episodes cannot hold batch_size_run="
            f"{values['batch_size_run']} new ones; make the buffer at least as large.",
            "buffer_size",
        )
    if values["runner"] == "episode" and values["batch_size_run"] != 1:
        raise SettingsError(
            f"runner=episode plays one episode at a time, but batch_size_run={values['batch_size_run']}; "
            "set batch_size_run=1.",
            "batch_size_run",
        )
    if values["evaluate"] and not values["checkpoint_path"]:
        raise SettingsError("evaluate=True needs checkpoint_path, the folder of the run to evaluate.", "evaluate")


def freeze(values: Mapping[str, Any], method: Mapping[str, Any]) -> Settings:
    """Returns checked, immutable settings.

    Args:
        values: all keys with their values.
        method: name and type of the keys that the chosen method reads beyond ``RunSettings``.

    Raises:
        SettingsError: unknown or missing key, wrong type, value out of range.
    """
    check_types(values, {**types_of(RunSettings), **method})
    validate(values)
    return Settings(**values)
