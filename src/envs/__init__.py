"""Environments by name. Their modules are imported when an environment is first used.

``REGISTRY`` makes one environment under EPyMARL's interface and calling convention, for the ``episode`` and
``parallel`` runners; ``BATCHED_REGISTRY`` has the classes written for many copies, for the ``vector`` runner.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from envs.batched import SingleEnv
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.lazy_registry import LazyRegistry
from epymarl_lmac.plugin.entry_points import extended
from epymarl_lmac.tasks.sc2_engine import form as sc2_form


def _unknown(message: str) -> TaskError:
    return TaskError(f"env {message}")


BATCHED_REGISTRY = extended(
    "envs",
    {
        "lbf": "envs.lbf:LbfEnv",
        "lookout": "envs.lookout:LookoutEnv",
        "sc2": "envs.sc2:Sc2Env",
        "sc2v2": "envs.sc2:Sc2V2Env",
    },
    _unknown,
)


def check_reward_form(name: str, common_reward: bool, reward_scalarisation: str) -> None:
    """Refuses reward forms that our own environments do not have.

    Raises:
        TaskError: anything but the team's reward, summed over its agents.
    """
    if not common_reward or reward_scalarisation != "sum":
        raise TaskError(
            f"env {name!r} gives the team one reward, the sum over its agents; got "
            f"common_reward={common_reward}, reward_scalarisation={reward_scalarisation!r}. "
            "Use common_reward=True reward_scalarisation=sum."
        )


def _single(
    env_name: str,
    *,
    seed: int,
    common_reward: bool = True,
    reward_scalarisation: str = "sum",
    **env_args: Any,
) -> MultiAgentEnv:
    """Makes one copy of a batched environment behind EPyMARL's interface, or a game of StarCraft II."""
    check_reward_form(env_name, common_reward, reward_scalarisation)
    if env_name in ("sc2", "sc2v2") and sc2_form(env_name, env_args) == "single":
        from envs.starcraft2 import make

        return make(env_name, seed=seed, **env_args)
    return SingleEnv(BATCHED_REGISTRY[env_name](1, seed, **env_args))


REGISTRY = LazyRegistry({name: partial(_single, name) for name in BATCHED_REGISTRY}, _unknown)
