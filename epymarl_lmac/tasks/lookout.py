"""Settings, optimum and task card of ``lookout`` (src/envs/lookout.py has the game)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.entry import Score


@dataclass(frozen=True)
class LookoutSettings:
    """The env_args of ``config/envs/lookout.yaml``, where each is explained."""

    players: int
    targets: int
    steps: int
    noise: float
    random_scout: bool
    time_limit_terminates: bool

    @staticmethod
    def of(env_args: Mapping[str, Any]) -> LookoutSettings:
        """Returns checked settings.

        Raises:
            TaskError: a missing or unknown argument, or a value that makes no game.
        """
        names = {field.name for field in dataclasses.fields(LookoutSettings)}
        if set(env_args) != names:
            missing, unknown = sorted(names - set(env_args)), sorted(set(env_args) - names)
            raise TaskError(f"lookout: missing arguments {missing}, unknown arguments {unknown}.")
        settings = LookoutSettings(**env_args)
        for name, low in (("players", 2), ("targets", 2), ("steps", 1)):
            if getattr(settings, name) < low:
                raise TaskError(f"lookout: {name}={getattr(settings, name)} must be at least {low}.")
        if not 0 <= settings.noise <= 1:
            raise TaskError(f"lookout: noise={settings.noise} must lie between 0 and 1.")
        return settings


def optimum(env_args: Mapping[str, Any], communication: bool) -> float:
    """Returns the best expected return.

    Without communication only the scout knows anything, so the others can only agree on a target in advance and are
    right in 1 / K of the episodes. With it all follow what the scout saw, or, where it is misled more often than a
    given wrong target is right, one of the targets it did not see.

    Args:
        env_args: the environment's arguments.
        communication: whether agents may tell each other what they see.
    """
    settings = LookoutSettings.of(env_args)
    K = settings.targets
    if not communication:
        return 1 / K
    return max(1 - settings.noise, settings.noise / (K - 1))


def score(env_args: Mapping[str, Any]) -> Score:
    """Returns that the mean return tells how well a team plays, with its exact optimum."""
    return Score("return_mean", 0, 1, optimum(env_args, True), optimum(env_args, False))


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``3a-4k`` for 3 agents and 4 targets; other settings than the default ones are appended."""
    s = LookoutSettings.of(env_args)
    name = f"{s.players}a-{s.targets}k"
    if s.steps != 2:
        name += f"-{s.steps}t"
    if s.noise:
        name += f"-n{s.noise:g}"
    return name + ("-rs" if s.random_scout else "")


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a setting."""
    s = LookoutSettings.of(env_args)
    state = [
        Dimension(k, f"target[{k}]", f"1 if target {k} is the right one", 0, 1, "one-hot") for k in range(s.targets)
    ]
    state += [
        Dimension(s.targets + i, f"scout[{i}]", f"1 if agent {i} is the scout", 0, 1, "one-hot")
        for i in range(s.players)
    ]
    wrong = f" (a wrong one with probability {s.noise:g})" if s.noise else ""
    obs = [
        Dimension(k, f"sees[{k}]", f"1 if this agent is the scout and sees target {k}{wrong}", 0, 1, "0/1")
        for k in range(s.targets)
    ]
    obs.append(Dimension(s.targets, "is_scout", "1 if this agent is the scout", 0, 1, "0/1"))
    who = "one agent, drawn each episode," if s.random_scout else "agent 0"
    return TaskCard(
        env="lookout",
        task=task_id(env_args),
        goal=(
            f"{s.players} agents each name one of {s.targets} targets in every one of {s.steps} steps. Only {who} sees "
            f"which target is right{wrong}. In a step in which all agents, the scout included, name the right target "
            f"the team gets 1/{s.steps}, else 0."
        ),
        n_agents=s.players,
        episode_limit=s.steps,
        actions=tuple(f"target {k}" for k in range(s.targets)),
        state=tuple(state),
        obs=tuple(obs),
        settings=dict(env_args),
    )
