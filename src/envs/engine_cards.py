"""Task cards of the engines of others: hand-written where a task is described, else generated from its spaces.

A generated card has the name and index of every dimension, and its range where the engine's space states one. Where a
column of the observation is not the same for all agents, the card says what it is agent by agent.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from envs import gymma_env, pettingzoo_env
from envs.engine_env import EngineEnv
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.mpe import DESCRIPTIONS, Description

Columns = Sequence[Sequence[Dimension]]  # one sequence an agent


def short_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``simple_spread_v3-25t`` for a task, with a digest of all arguments that a yaml leaves empty."""
    key = str(env_args.get("key") or "none").rpartition(":")[2]
    if re.fullmatch(r"[\w.]+", key):
        key = key.rpartition(".")[2]
    name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', key)}-{env_args.get('time_limit')}t"
    usual: dict[str, list[Any]] = {"pretrained_wrapper": [None, ""], "state": ["auto"], "kwargs": [{}]}
    rest = {k: v for k, v in env_args.items() if k not in ("key", "time_limit") and v not in usual.get(k, [])}
    if rest:
        name += "-" + hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:6]
    return name


def card_of(
    registered: str,
    env_args: Mapping[str, Any],
    env: EngineEnv,
    description: Description | None = None,
    task: str | None = None,
) -> TaskCard:
    """Returns the card of an engine's environment.

    Args:
        registered: name of the environment in the registry.
        env_args: its arguments.
        env: the environment, for its spaces.
        description: of the task, where one is written; None generates one.
        task: its short name; None is ``short_id(env_args)``.
    """
    columns: Columns
    actions: Sequence[Sequence[str]]
    if description is None:
        columns = [_generated(env, n) for n in range(env.n_agents)]
        actions = [[f"action {a}" for a in range(size)] for size in env.action_sizes]
        goal = (
            f"{env.n_agents} agents ({', '.join(env.agent_names)}) in {env.name}. The team's reward of a step is made "
            "from the agents' rewards; the engine's documentation says for what they are given."
        )
    else:
        columns, actions, goal = description.obs, description.actions, description.goal
    padded = [_padded(own, env.get_obs_size()) for own in columns]
    state = _concatenated(env, padded if env.state_form == "concat_obs" else columns)
    if len(state) != env.get_state_size():
        state = _of_space(getattr(env.env, "state_space", None), env.get_state_size(), "state", "the engine's state")
    return TaskCard(
        env=registered,
        task=short_id(env_args) if task is None else task,
        goal=goal,
        n_agents=env.n_agents,
        episode_limit=env.episode_limit,
        actions=tuple(_merged_names(env, actions, a) for a in range(env.get_total_actions())),
        state=tuple(state),
        obs=tuple(_merged(env, padded, i) for i in range(env.get_obs_size())),
        settings=dict(env_args),
    )


def _of_space(space: Any, size: int, name: str, what: str) -> list[Dimension]:
    """Returns generic columns with the ranges of a space."""
    from gymnasium.spaces.utils import flatten_space

    flat: Any = None if space is None else flatten_space(space)
    low = np.full(size, -np.inf) if flat is None else np.asarray(flat.low, float).reshape(-1)
    high = np.full(size, np.inf) if flat is None else np.asarray(flat.high, float).reshape(-1)
    return [
        Dimension(i, f"{name}[{i}]", f"number {i} of {what}", float(low[i]), float(high[i]), "unknown")
        for i in range(size)
    ]


def _generated(env: EngineEnv, n: int) -> list[Dimension]:
    return _of_space(env.obs_spaces[n], env.obs_sizes[n], "obs", "what the engine shows this agent")


def _padded(own: Sequence[Dimension], size: int) -> list[Dimension]:
    """Returns an agent's columns, filled up to the longest observation."""
    return [*own, *(Dimension(i, f"none[{i}]", "always 0", 0, 0, "none") for i in range(len(own), size))]


def _concatenated(env: EngineEnv, columns: Columns) -> list[Dimension]:
    """Returns the columns of all observations, one agent after the other."""
    state: list[Dimension] = []
    for name, own in zip(env.agent_names, columns, strict=True):
        for d in own:
            meaning = f"of {name}: {d.meaning}"
            low, high = (min(d.low, 0.0), max(d.high, 0.0)) if env.has_alive else (d.low, d.high)  # 0 once it is gone
            state.append(Dimension(len(state), f"{name}.{d.name}", meaning, low, high, d.unit))
    return state


def _merged(env: EngineEnv, columns: Columns, i: int) -> Dimension:
    """Returns what column i of the observation means: for all alike, or agent by agent."""
    own = [columns[n][i] for n in range(env.n_agents)]
    low, high = min(d.low for d in own), max(d.high for d in own)
    if env.has_alive:
        low, high = min(low, 0.0), max(high, 0.0)
    if len({(d.name, d.meaning) for d in own}) == 1:
        return Dimension(i, own[0].name, own[0].meaning, low, high, own[0].unit)
    parts = list(zip(env.agent_names, own, strict=True))
    return Dimension(
        i,
        "|".join(f"{name}.{d.name}" for name, d in parts),
        "; ".join(f"{name}: {d.meaning}" for name, d in parts),
        low,
        high,
        ", ".join(sorted({d.unit for d in own})),
    )


def _merged_names(env: EngineEnv, actions: Sequence[Sequence[str]], a: int) -> str:
    """Returns what action a is: for all alike, or for those agents that have it."""
    own = {name: names[a] for name, names in zip(env.agent_names, actions, strict=True) if a < len(names)}
    if len(own) == env.n_agents and len(set(own.values())) == 1:
        return next(iter(own.values()))
    return "; ".join(f"{name}: {what}" for name, what in own.items())


def _description(env_args: Mapping[str, Any]) -> Description | None:
    """Returns what is written about a task, for its usual arguments."""
    name = re.split(r"[.:]|^pz-\w+?-", str(env_args.get("key")))[-1].replace("-", "_")
    extra = env_args.get("kwargs") or {k: v for k, v in env_args.items() if k not in _GYMMA_KEYS}
    describe: Callable[[int], Description] | None = DESCRIPTIONS.get(name)
    return None if describe is None or extra else describe(int(env_args["time_limit"]))


_GYMMA_KEYS = ("key", "time_limit", "pretrained_wrapper", "state", "kwargs")


def pettingzoo_card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a ``pettingzoo`` environment, which is made for its spaces; errors as when it is made."""
    env: Any = pettingzoo_env.make(seed=0, common_reward=True, reward_scalarisation="sum", **env_args)
    with closing(env):
        return card_of("pettingzoo", env_args, env, _description(env_args))


def gymma_card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a ``gymma`` environment, which is made for its spaces; errors as when it is made."""
    env: Any = gymma_env.make(seed=0, common_reward=True, reward_scalarisation="sum", **env_args)
    with closing(env):
        return card_of("gymma", env_args, env, _description(env_args))
