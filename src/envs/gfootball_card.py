"""Task cards of ``gfootball``: by hand for the scenarios of ``tasks/gfootball.py``, else from the engine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from envs.gfootball_env import make
from epymarl_lmac.tasks.card import TaskCard
from epymarl_lmac.tasks.gfootball import (
    ACTIONS,
    PAPER_REWARDS,
    SCENARIOS,
    check_map_name,
    goal,
    obs_columns,
    opponent_names,
    state_columns,
)


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``academy_3_vs_1_with_keeper-150t``; what differs from the paper's form is appended."""
    name = f"{check_map_name(env_args['map_name'])}-{env_args['time_limit']}t"
    if env_args["n_agents"] is not None:
        name += f"-{env_args['n_agents']}a"
    rewards = (env_args["reward_goal"], env_args["reward_lost"])
    if rewards != PAPER_REWARDS:
        name += f"-r{rewards[0]}_{rewards[1]}"
    if env_args["ends_in_own_half"] is not None:
        name += "-half" if env_args["ends_in_own_half"] else "-whole"
    return name


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the card of a scenario. Those without a written text are started for their sizes.

    Raises:
        TaskError: no scenario is given, or one cannot be started.
    """
    map_name = check_map_name(env_args["map_name"])
    written = SCENARIOS.get(map_name)
    if written is not None and env_args["n_agents"] in (None, written.n_agents):
        n_agents, opponents, start = written.n_agents, written.opponents, written.start
        ends_in_own_half = env_args["ends_in_own_half"] is not False  # nobody starts there
    else:
        env: Any = make(seed=0, common_reward=True, reward_scalarisation="sum", **env_args)
        with closing(env):
            n_agents, opponents = env.n_agents, opponent_names(env.env.n_opponents)
            start = f"The scenario is {map_name} of Google Research Football."
            ends_in_own_half = env.ends_in_own_half
    return TaskCard(
        env="gfootball",
        task=task_id(env_args),
        goal=goal(start, ends_in_own_half),
        n_agents=n_agents,
        episode_limit=int(env_args["time_limit"]),
        actions=ACTIONS,
        state=state_columns(n_agents, opponents),
        obs=obs_columns(n_agents, opponents),
        settings=dict(env_args),
    )
