"""Settings and task cards of ``hallway`` and ``hallway_group`` (src/envs/hallway.py has the game)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension, TaskCard
from epymarl_lmac.tasks.checks import check_boolean, check_integer, check_integers, check_keys, check_number

ACTIONS = ("stay", "left", "right")
KEYS = ("lengths", "reward_win", "random_lengths", "time_slack", "time_limit_terminates")
PUBLISHED_SLACK = 10


@dataclass(frozen=True)
class HallwaySettings:
    """One validated game; ``hallway`` is the game with one group."""

    env: str  # "hallway" or "hallway_group"
    lengths: tuple[int, ...]  # length of every agent's corridor, cells; N of them
    group_ids: tuple[int, ...]  # group of every agent, 0, 1, ...
    reward_win: float  # reward for a group that arrives together
    random_lengths: bool  # draw every corridor's length each episode
    time_slack: int  # steps that an episode may last beyond the longest corridor
    time_limit_terminates: bool  # report the time limit as a termination instead of a truncation

    @classmethod
    def from_env_args(cls, env: str, env_args: Mapping[str, Any]) -> HallwaySettings:
        """Reads and validates ``env_args`` of ``config/envs/hallway.yaml`` or ``hallway_group.yaml``.

        Raises:
            TaskError: a key is missing or unknown, or the values describe no playable game.
        """
        has_groups = env == "hallway_group"
        check_keys(env, env_args, (*KEYS, "group_ids") if has_groups else KEYS)
        lengths = check_integers(env, "lengths", env_args["lengths"], low=1, least=2)
        groups = (0,) * len(lengths)
        if has_groups:
            groups = check_integers(env, "group_ids", env_args["group_ids"], low=0, least=2)
            _check_groups(env, lengths, groups)
        return cls(
            env=env,
            lengths=lengths,
            group_ids=groups,
            reward_win=check_number(env, "reward_win", env_args["reward_win"], 0),
            random_lengths=check_boolean(env, "random_lengths", env_args["random_lengths"]),
            time_slack=check_integer(env, "time_slack", env_args["time_slack"], 0),
            time_limit_terminates=check_boolean(env, "time_limit_terminates", env_args["time_limit_terminates"]),
        )

    @property
    def n_agents(self) -> int:
        """Number N of agents."""
        return len(self.lengths)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return max(self.group_ids) + 1

    @property
    def episode_limit(self) -> int:
        """Longest episode, steps. With random lengths an episode's own limit follows from the lengths drawn."""
        return max(self.lengths) + self.time_slack

    def members(self, group: int) -> list[int]:
        """Returns the agents of a group."""
        return [i for i, g in enumerate(self.group_ids) if g == group]


def _check_groups(env: str, lengths: tuple[int, ...], groups: tuple[int, ...]) -> None:
    if len(groups) != len(lengths):
        raise TaskError(f"{env}: group_ids has {len(groups)} entries, but lengths has {len(lengths)}; one an agent.")
    if set(groups) != set(range(max(groups) + 1)):
        raise TaskError(f"{env}: group_ids={list(groups)} must number the groups 0, 1, ... without a gap.")


def task_id(env_args: Mapping[str, Any]) -> str:
    """Returns e.g. ``6x6``; what differs from the published form is appended."""
    return task_id_of(HallwaySettings.from_env_args("hallway", env_args))


def card(env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a setting of ``hallway``."""
    return card_of(HallwaySettings.from_env_args("hallway", env_args), env_args)


def task_id_of(s: HallwaySettings) -> str:
    """Returns the short name of a game, e.g. ``3x5-4x6x10``: a group's lengths, then the next group's."""
    name = "-".join("x".join(str(s.lengths[i]) for i in s.members(g)) for g in range(s.n_groups))
    if s.random_lengths:
        name += "-random"
    if s.time_slack != PUBLISHED_SLACK:
        name += f"-slack{s.time_slack}"
    if s.reward_win != 1:
        name += f"-w{s.reward_win:g}"
    return name + ("" if s.time_limit_terminates else "-trunc")


def card_of(s: HallwaySettings, env_args: Mapping[str, Any]) -> TaskCard:
    """Returns the task card of a validated game."""
    return TaskCard(
        env=s.env,
        task=task_id_of(s),
        goal=f"{_rules(s)} {_value_of_messages(s)}",
        n_agents=s.n_agents,
        episode_limit=s.episode_limit,
        actions=ACTIONS,
        state=_state_dimensions(s),
        obs=_obs_dimensions(s),
        settings=dict(env_args),
    )


def _rules(s: HallwaySettings) -> str:
    corridors = ", ".join(str(length) for length in s.lengths)
    if s.random_lengths:
        start = (
            f"Each episode draws every agent's corridor length uniformly from 1 to its largest ({corridors}); the "
            f"agent starts at the far end, and the episode ends {s.time_slack} steps after the longest length drawn."
        )
    else:
        start = (
            f"Their lengths are {corridors}; an agent starts in a cell drawn uniformly from 1 to its length, and the "
            f"episode ends after {s.episode_limit} steps."
        )
    if s.n_groups == 1:
        aim = (
            f"If all agents enter cell 0 in the same step the team gets {s.reward_win:g} and the episode ends. If only "
            "some do, it ends with 0."
        )
    else:
        groups = "; ".join(f"group {g}: agents {s.members(g)}" for g in range(s.n_groups))
        aim = (
            f"The groups are {groups}. A group whose agents all enter cell 0 in the same step brings the team "
            f"{s.reward_win:g}; a group of which only some do has failed, and its agents cannot move any more. Groups "
            f"that arrive in the same step lose {0.5 * s.reward_win:g} each instead and cannot win any more. The "
            "episode ends when all groups have won or all have failed."
        )
    walk = f"{s.n_agents} agents walk in corridors of their own, one cell a step, and see only their own cell."
    return f"{walk} {start} {aim}"


def _value_of_messages(s: HallwaySettings) -> str:
    from epymarl_lmac.tasks.hallway_optimum import clock_solves, values

    if clock_solves(s):
        return (
            "No messages are needed: agents that count steps and enter cell 0 at a time agreed on in advance always "
            "win. Success here is no proof that messages matter."
        )
    alone, together = values(s, communication=False), values(s, communication=True)
    return (
        f"The best expected return is {_span(alone)} without communication and {_span(together)} when agents can tell "
        "each other where they start."
    )


def _span(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:.4g}" if abs(high - low) < 1e-9 else f"between {low:.4g} and {high:.4g}"


def _obs_dimensions(s: HallwaySettings) -> tuple[Dimension, ...]:
    dims = [Dimension(0, "position", "cell this agent stands in; 0 is the goal", 0, max(s.lengths), "cells")]
    if s.env == "hallway_group":
        dims.append(Dimension(1, "active", "1 while this agent's group can still move, else 0", 0, 1, "0/1"))
    return tuple(dims)


def _state_dimensions(s: HallwaySettings) -> tuple[Dimension, ...]:
    dims: list[Dimension] = []

    def add(name: str, meaning: str, high: float, unit: str) -> None:
        dims.append(Dimension(len(dims), name, meaning, 0, high, unit))

    for i, length in enumerate(s.lengths):
        add(f"position[{i}]", f"cell that agent {i} stands in; 0 is the goal", length, "cells")
        if s.env == "hallway_group":
            add(f"active[{i}]", f"1 while the group of agent {i} can still move, else 0", 1, "0/1")
    if s.random_lengths:
        for i, length in enumerate(s.lengths):
            add(f"length[{i}]", f"length of agent {i}'s corridor in this episode, its first position", length, "cells")
    return tuple(dims)
