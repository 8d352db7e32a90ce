"""Makes environments from their entries, in the two forms that runners and hosts ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from envs.batched import BatchedEnv, SingleEnv
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks import EnvEntry
from epymarl_lmac.tasks.entry import resolve


def check_reward_form(name: str, entry: EnvEntry, common_reward: bool, reward_scalarisation: str) -> None:
    """Refuses a form of reward that an environment does not offer.

    Raises:
        TaskError: naming the forms that it offers.
    """
    asked = reward_scalarisation if common_reward else "per_agent"
    if asked not in entry.rewards:
        forms = {
            "sum": "common_reward=True reward_scalarisation=sum",
            "mean": "common_reward=True reward_scalarisation=mean",
            "per_agent": "common_reward=False",
        }
        raise TaskError(
            f"env {name!r} does not offer common_reward={common_reward}, reward_scalarisation="
            f"{reward_scalarisation!r}; use {' or '.join(forms[form] for form in entry.rewards)}."
        )


def make_batched(
    name: str,
    entry: EnvEntry,
    num_envs: int,
    seed: int,
    env_args: Mapping[str, Any],
    common_reward: bool = True,
    reward_scalarisation: str = "sum",
) -> BatchedEnv:
    """Makes an environment that is written for batches.

    Args:
        name: of the environment, for messages.
        entry: its entry; ``entry.form(env_args)`` must be "batched".
        num_envs: B.
        seed: root of all copies' random streams.
        env_args: the environment's arguments.
        common_reward: whether the team has one reward.
        reward_scalarisation: how it is made from the agents' rewards.

    Raises:
        TaskError: settings that the environment refuses.
    """
    check_reward_form(name, entry, common_reward, reward_scalarisation)
    return resolve(entry.batched)(num_envs, seed, **env_args)


def make_one(
    name: str,
    entry: EnvEntry,
    *,
    seed: int,
    common_reward: bool = True,
    reward_scalarisation: str = "sum",
    **env_args: Any,
) -> MultiAgentEnv:
    """Makes one copy under EPyMARL's interface and calling convention; arguments and errors as ``make_batched``."""
    check_reward_form(name, entry, common_reward, reward_scalarisation)
    if entry.form(env_args) == "batched":
        return SingleEnv(resolve(entry.batched)(1, seed, **env_args), common_reward)
    forms = {"common_reward": common_reward, "reward_scalarisation": reward_scalarisation}
    return resolve(entry.single)(seed=seed, **forms, **env_args)


class Makers(Mapping[str, Any]):
    """Name -> a function that makes one copy, called as hosts call the entries of their ``envs.REGISTRY``.

    Args:
        entries: name -> ``EnvEntry``; read anew at each use.
    """

    def __init__(self, entries: Mapping[str, EnvEntry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Any:
        return partial(make_one, name, self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
