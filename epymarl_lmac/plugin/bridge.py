"""Translates between a host's names and ours, in settings and in calls of environments; no other module does."""

from __future__ import annotations

import functools
import multiprocessing
import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from epymarl_lmac.errors import SettingsError
from epymarl_lmac.paths import config_root
from epymarl_lmac.plugin.host import Host
from epymarl_lmac.settings.checks import check_value
from epymarl_lmac.settings.fields import defaults_of, settings_of
from epymarl_lmac.settings.files import read_yaml
from epymarl_lmac.settings.schema import HOSTS_OWN

ENVIRONMENT_SETTINGS = "environment_settings"  # in a config file of ours in a host: what algorithms' files leave open
SEED_STRIDE = 1_000_003  # between the environment seeds of parallel processes, where the host gives all the same


class BridgedArgs(SimpleNamespace):
    """A host's settings under our names."""


@functools.cache
def learning_defaults() -> dict[str, Any]:
    """Returns the settings of our default.yaml that methods read, whatever the host."""
    values = read_yaml(config_root() / "default.yaml")
    return {key: value for key, value in values.items() if key not in HOSTS_OWN}


def bridged_args(
    args: Any, host: Host, envs: Mapping[str, Mapping[str, Any]], left_open: Iterable[str] = ()
) -> BridgedArgs:
    """Returns a host's settings under our names, with our defaults where the host has none.

    Args:
        args: the host's namespace.
        host: what kind of host it is.
        envs: our environments in this host: registry name there -> ``{"name": ours, "drop": [argument, ...]}``.
        left_open: settings that are null where nobody sets them, see ``configs.left_to_environments``.
    """
    if isinstance(args, BridgedArgs):
        return args
    values = {**learning_defaults(), **vars(args)}
    for ours, theirs in host.renamed.items():
        if theirs in values:
            values[ours] = values[theirs]
    by_environment = {**learning_defaults(), **values.get(ENVIRONMENT_SETTINGS, {})}
    for key in left_open:
        if values[key] is None:
            values[key] = by_environment[key]
    if values.get("env") in envs:
        own = envs[values["env"]]
        values["env"] = own["name"]
        values["env_args"] = own_env_args(values["env_args"], own["drop"])
    return BridgedArgs(**values)


def own_env_args(env_args: Mapping[str, Any], drop: list[str]) -> dict[str, Any]:
    """Returns an environment's arguments without those that only the host reads."""
    return {key: value for key, value in env_args.items() if key not in drop}


def with_own_settings(entry: Any, name: str, args: BridgedArgs) -> BridgedArgs:
    """Returns settings with those of a method's own that the host's files leave out, at their defaults.

    Args:
        entry: the class; its ``SETTINGS`` has the settings it reads beyond those of every run.
        name: its name in the host's registry, for messages.
        args: bridged settings.

    Raises:
        SettingsError: a setting without default is missing, one has another type or is out of bounds, or agents have
            rewards of their own.
    """
    schema = getattr(entry, "SETTINGS", None)
    if schema is not None:
        args = BridgedArgs(**{**defaults_of(schema), **vars(args)})
        for item in settings_of(schema):
            if not hasattr(args, item.key):
                raise SettingsError(
                    f"{name} needs the setting {item.key!r}; give it in the algorithm's file.", item.key
                )
            check_value(item, getattr(args, item.key), name)
    if not getattr(args, "common_reward", True):
        raise SettingsError(f"{name} learns from one reward for the team; use common_reward=True.", "common_reward")
    return args


def worker_number() -> int:
    """Returns the number in the name of this environment process, 0 in the main process."""
    if multiprocessing.parent_process() is None:
        return 0
    digits = re.search(r"(\d+)$", multiprocessing.current_process().name)
    return int(digits[1]) if digits else 0


class HostEnv:
    """One of our environments as a host's runners call it.

    Args:
        env: the environment, under EPyMARL's current interface.
        five_values: whether the host's runners take five values from ``step``, or (reward, terminated, info).
    """

    def __init__(self, env: Any, five_values: bool) -> None:
        self.env = env
        self.five_values = five_values
        self.n_agents = env.n_agents
        self.episode_limit = env.episode_limit

    def step(self, actions: Any) -> tuple:
        """Moves the environment by one step; a truncation is in ``info["episode_limit"]`` in both forms."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if self.five_values:
            return obs, reward, terminated, truncated, info
        return reward, terminated or truncated, info

    def get_stats(self) -> dict:
        """Returns counters over all episodes so far, where the environment has any."""
        return self.env.get_stats() if hasattr(self.env, "get_stats") else {}

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """Prints the current step as text (EPyMARL calls this without arguments) or returns what was asked for."""
        picture = self.env.render(*args, **kwargs)
        if isinstance(picture, str) and not args and not kwargs:
            print(picture)
        return picture

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet: a copy being built
            raise AttributeError(name)
        return getattr(self.env, name)
