"""``gfootball``: Google Research Football, any scenario by name, in the form of the LMAC paper.

Every agent controls one player of the left team. It sees its own place and, relative to it, the other agents' players,
all opponents and the ball; ``epymarl_lmac/tasks/gfootball.py`` names every column. With last action and agent id that
makes 48 columns in ``academy_3_vs_1_with_keeper`` and 43 in ``academy_run_pass_and_shoot_with_keeper``.

Reward: ``reward_goal`` for a goal, ``reward_lost`` where the episode ends otherwise than by time (the ball is out or
the opponents'). Source: the environment of the LMAC paper's reference code, its values and its ends. It differs in two
things: the time limit of a scenario itself is a truncation here, and an agent sees the player that it controls
(``gfootball_game.py`` says why the reference's agents do not always).

Letters: N agents, E opponents, O observation, S state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from envs.engine_env import EngineEnv, EngineStep, version_of
from envs.gfootball_game import MAX_SEED, Match, Raw
from envs.multiagentenv import MultiAgentEnv
from epymarl_lmac.errors import TaskError
from epymarl_lmac.tasks.gfootball import ACTIONS, check_map_name, n_columns


def make(
    *,
    seed: int,
    common_reward: bool,
    reward_scalarisation: str,
    map_name: str,
    n_agents: int | None,
    time_limit: int,
    reward_goal: float,
    reward_lost: float,
    ends_in_own_half: bool | None,
) -> MultiAgentEnv:
    """Makes one copy; the arguments are those of ``config/envs/gfootball.yaml``.

    Raises:
        TaskError: no or an unknown scenario, a number of agents that it does not have, or a package that is missing.
    """
    match = Match(check_map_name(map_name), n_agents)
    return GfootballEnv(map_name, match, time_limit, reward_goal, reward_lost, ends_in_own_half, seed)


class GfootballEnv(EngineEnv):
    """A scenario under EPyMARL's interface; see the module's text.

    Args:
        map_name: of the scenario, for messages.
        match: the engine.
        time_limit: steps after which an episode is cut.
        reward_goal: for each goal of ours; the negative for one of the opponents' that does not end the episode.
        reward_lost: at an end that is neither a goal of ours nor a time limit.
        ends_in_own_half: whether the episode is lost when the ball or an agent comes into the own half; None: where
            none of them starts there.
        seed: of all episodes.

    Raises:
        TaskError: a reward that is no number, or a time limit that is none.
    """

    has_own_state = True

    def __init__(
        self,
        map_name: str,
        match: Match,
        time_limit: int,
        reward_goal: float,
        reward_lost: float,
        ends_in_own_half: bool | None,
        seed: int,
    ) -> None:
        from gymnasium import spaces

        for name, value in (("reward_goal", reward_goal), ("reward_lost", reward_lost)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TaskError(f"gfootball: env_args.{name}={value!r} must be a number.")
        if ends_in_own_half not in (None, True, False):
            raise TaskError(f"gfootball: env_args.ends_in_own_half={ends_in_own_half!r} must be True, False or null.")
        N, E = match.n_agents, match.n_opponents
        view = spaces.Box(-np.inf, np.inf, (n_columns(N, E),), np.float32)
        name = f"gfootball {map_name} ({version_of('gfootball')})"
        agents = [f"player_{n}" for n in range(N)]
        super().__init__(name, agents, [view] * N, [spaces.Discrete(len(ACTIONS))] * N, time_limit, seed, "sum")
        self.env = match
        self.reward_goal, self.reward_lost = float(reward_goal), float(reward_lost)
        self._draws = np.random.default_rng(seed)
        self._raw: Raw = match.reset(0)
        self._players_N = np.zeros(N, np.int64)
        self._find_players()
        self.ends_in_own_half = not self._is_in_own_half() if ends_in_own_half is None else ends_in_own_half

    @property
    def rules(self) -> str:
        """The engine's version, the limits, and whether the own half is out of bounds."""
        return super().rules + (", ends in the own half" if self.ends_in_own_half else "")

    def _reset_engine(self, seed: int | None) -> tuple[Sequence[Any], Sequence[ArrayLike | None]]:
        if seed is not None:
            self._draws = np.random.default_rng(seed)
        self._raw = self.env.reset(int(self._draws.integers(MAX_SEED)))
        self._find_players()
        return self._views(), [None] * self.n_agents

    def _step_engine(self, actions: Sequence[int]) -> EngineStep:
        self._raw, gained, is_done = self.env.step(actions)
        self._find_players()
        was_cut = is_done and not gained and self._raw["steps_left"] <= 0
        is_lost_ground = self.ends_in_own_half and self._is_in_own_half()
        terminated = (is_done and not was_cut) or is_lost_ground
        reward = self.reward_lost if terminated and gained <= 0 else gained * self.reward_goal
        lead = int(self._raw["score"][0]) - int(self._raw["score"][1])
        info = {"success": float(lead > 0), "score_reward": float(lead)}
        team = np.array([reward], np.float32)
        return EngineStep(self._views(), team, terminated, was_cut, [None] * self.n_agents, info)

    def _find_players(self) -> None:
        """Looks up whom every agent controls; an agent without a player keeps its last one."""
        for n, player in enumerate(self._raw["left_agent_controlled_player"]):
            if player >= 0:
                self._players_N[n] = player

    def _is_in_own_half(self) -> bool:
        """Returns whether the ball or an agent's player is left of the centre line."""
        return bool(self._raw["ball"][0] < 0 or (self._raw["left_team"][self._players_N, 0] < 0).any())

    def _views(self) -> list[np.ndarray]:
        return list(observations(self._raw, self._players_N))

    def _own_state(self) -> np.ndarray:
        return state(self._raw, self._players_N)

    def get_state_size(self) -> int:
        return n_columns(self.n_agents, self.env.n_opponents)

    def close(self) -> None:
        self.env.close()


@cache
def _others(N: int) -> np.ndarray:
    """Returns the other agents of every agent, int64 (N, N - 1)."""
    return np.array([[m for m in range(N) if m != n] for n in range(N)], np.int64).reshape(N, N - 1)


def observations(raw: Raw, players_N: np.ndarray) -> np.ndarray:
    """Returns what every agent sees, float32 (N, O); places are relative to its own but for the first two columns.

    Args:
        raw: the engine's observation.
        players_N: whom every agent controls, int64 (N,), indices into the left team.
    """
    N = len(players_N)
    place_N2, move_N2 = raw["left_team"][players_N], raw["left_team_direction"][players_N]
    others_NM = _others(N)
    own_N12 = place_N2[:, None]
    opponents_NE2 = raw["right_team"][None] - own_N12
    moves_E = raw["right_team_direction"].reshape(-1)
    parts = [
        place_N2,
        (place_N2[others_NM] - own_N12).reshape(N, -1),
        move_N2,
        move_N2[others_NM].reshape(N, -1),
        opponents_NE2.reshape(N, -1),
        np.broadcast_to(moves_E, (N, len(moves_E))),
        raw["ball"][None, :2] - place_N2,
        np.full((N, 1), raw["ball"][2]),
        np.broadcast_to(raw["ball_direction"], (N, 3)),
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def state(raw: Raw, players_N: np.ndarray) -> np.ndarray:
    """Returns the agents', the opponents' and the ball's places and velocities on the pitch, float32 (S,).

    Args:
        raw: the engine's observation.
        players_N: whom every agent controls, int64 (N,), indices into the left team.
    """
    parts = [
        raw["left_team"][players_N],
        raw["left_team_direction"][players_N],
        raw["right_team"],
        raw["right_team_direction"],
        raw["ball"],
        raw["ball_direction"],
    ]
    return np.concatenate([np.asarray(part).reshape(-1) for part in parts]).astype(np.float32)
