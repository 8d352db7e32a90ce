"""Google Research Football in words: what every column and action means, and two scenarios of the LMAC paper.

``src/envs/gfootball_env.py`` writes the columns, ``src/envs/gfootball_card.py`` makes the task cards. Places have the
engine's units: x runs from -1 (own goal line) to 1 (the opponents'), y from -0.42 to 0.42; one unit is 54.4 m along x
and 83.6 m along y. Heights are in metres. Velocities are changes of place in one step of 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.card import Dimension

ACTIONS = (
    "idle", "left", "top_left", "top", "top_right", "right", "bottom_right", "bottom", "bottom_left", "long_pass",
    "high_pass", "short_pass", "shot", "sprint", "release_direction", "release_sprint", "sliding", "dribble",
    "release_dribble",
)  # fmt: skip
PAPER_REWARDS = (100.0, -1.0)  # reward_goal and reward_lost of the LMAC paper's reference code

AXES = ("x", "y")
METRES = {"x": 54.4, "y": 83.6, "z": 1.0}  # in a unit of place
FAR = {"x": 1.2, "y": 0.6}  # players and ball stay within these, beyond the lines at 1 and 0.42
HIGH_M = 30.0  # the ball does not fly higher
RUN_MPS = 12.0  # no player is faster; the engine's sprint is 8
SHOT_MPS = 70.0  # nor the ball
STEP_S = 0.1

Part = tuple[str, str, float, float, str]  # a dimension without its index


@dataclass(frozen=True)
class Scenario:
    """What is known about a scenario without the engine."""

    n_agents: int
    opponents: tuple[str, ...]  # short names, in the engine's order
    start: str  # who stands where


SCENARIOS = {
    "academy_3_vs_1_with_keeper": Scenario(
        3,
        ("keeper", "defender"),
        "Three attackers face one defender and a keeper before the opponents' goal. Agent 0 starts in the middle "
        "(x 0.6) with the ball; agents 1 and 2 start ahead of it at x 0.7 on the two sides (y 0.2 and -0.2). The "
        "defender stands between them and the goal, at x 0.75.",
    ),
    "academy_run_pass_and_shoot_with_keeper": Scenario(
        2,
        ("keeper", "defender"),
        "Two attackers face one defender and a keeper before the opponents' goal. Agent 1 starts on a side (y -0.3) "
        "with the ball and nobody marks it; agent 0 starts in the middle, close to the defender. Both are at x 0.7, "
        "the defender is at x 0.75.",
    ),
}


def check_map_name(map_name: Any) -> str:
    """Returns the name of a scenario.

    Raises:
        TaskError: none is given.
    """
    if not isinstance(map_name, str) or not map_name:
        raise TaskError(f"env 'gfootball' needs env_args.map_name, e.g. academy_3_vs_1_with_keeper; got {map_name!r}.")
    return map_name


def n_columns(n_agents: int, n_opponents: int) -> int:
    """Returns the width of an observation, and of the state: O = S = 4 N + 4 E + 6."""
    return 4 * (n_agents + n_opponents) + 6


def goal(start: str, ends_in_own_half: bool) -> str:
    """Returns what the team must do and how reward is given.

    Args:
        start: who stands where.
        ends_in_own_half: whether the own half is out of bounds.
    """
    own_half = ", or when the ball or an agent comes into the own half (x below 0)" if ends_in_own_half else ""
    return (
        f"Football: each agent controls one player of the team that attacks to the right (towards x 1). {start} "
        "Opponents and the own keeper are played by the engine. The team must score a goal: only then it gets a "
        "positive reward. The episode is lost when it ends before the time limit without a goal, e.g. when the "
        f"opponents win the ball or the ball goes out{own_half}. Directions and sprint go on until they are changed or "
        "released; pass and shot fly where the player faces."
    )


def _place(name: str, whose: str, is_relative: bool) -> list[Part]:
    scale, less = (2, ", less this agent's own") if is_relative else (1, "")
    return [
        (f"{name}[{a}]", f"place of {whose} along {a}{less}", -scale * FAR[a], scale * FAR[a], "pitch units")
        for a in AXES
    ]


def _velocity(name: str, whose: str, fastest_mps: float, axes: Sequence[str] = AXES) -> list[Part]:
    parts = []
    for a in axes:
        most = fastest_mps * STEP_S / METRES[a]
        unit = "metres a step" if a == "z" else "pitch units a step"
        parts.append((f"{name}[{a}]", f"velocity of {whose} along {a}", -most, most, unit))
    return parts


def _ball(is_relative: bool) -> list[Part]:
    height = ("ball[z]", "height of the ball above the grass", 0.0, HIGH_M, "metres")
    return [*_place("ball", "the ball", is_relative), height, *_velocity("ball_velocity", "the ball", SHOT_MPS, "xyz")]


def _numbered(parts: Sequence[Part]) -> tuple[Dimension, ...]:
    return tuple(Dimension(index, *part) for index, part in enumerate(parts))


def opponent_names(n_opponents: int) -> tuple[str, ...]:
    """Returns ``opponent0``, ... for a scenario in which nobody has named them."""
    return tuple(f"opponent{e}" for e in range(n_opponents))


def obs_columns(n_agents: int, opponents: Sequence[str]) -> tuple[Dimension, ...]:
    """Returns the columns of an agent's observation.

    Args:
        n_agents: N; the other agents are called mate0, mate1, ... in the order of agents, this one left out.
        opponents: their names, in the engine's order.
    """
    mates = [
        (f"mate{m}", f"the player of other agent number {m} (in the order of agents)") for m in range(n_agents - 1)
    ]
    others = [(name, f"the opponents' {name}") for name in opponents]
    return _numbered(
        [
            *_place("own", "this agent's player", False),
            *(part for mate in mates for part in _place(*mate, True)),
            *_velocity("own_velocity", "this agent's player", RUN_MPS),
            *(part for name, who in mates for part in _velocity(f"{name}_velocity", who, RUN_MPS)),
            *(part for other in others for part in _place(*other, True)),
            *(part for name, who in others for part in _velocity(f"{name}_velocity", who, RUN_MPS)),
            *_ball(True),
        ]
    )


def state_columns(n_agents: int, opponents: Sequence[str]) -> tuple[Dimension, ...]:
    """Returns the columns of the state: places on the pitch; arguments as in ``obs_columns``."""
    agents = [(f"agent{n}", f"agent {n}'s player") for n in range(n_agents)]
    others = [(name, f"the opponents' {name}") for name in opponents]
    parts: list[Part] = []
    for team in (agents, others):
        parts += [part for name, who in team for part in _place(name, who, False)]
        parts += [part for name, who in team for part in _velocity(f"{name}_velocity", who, RUN_MPS)]
    return _numbered([*parts, *_ball(False)])
