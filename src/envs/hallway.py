"""Hallway: agents in corridors of their own must enter the goal in the same step, alone or in groups.

Rules of ``hallway``: T. Wang, J. Wang, C. Zheng, C. Zhang, "Learning Nearly Decomposable Value Functions via
Communication Minimization" (NDQ), ICLR 2020, and its released environment. Rules of ``hallway_group``: C. Guan et al.
(MASIA), NeurIPS 2022, and its released environment, whose effect for groups that arrive together is kept: they lose
half a reward each, may go on moving, and cannot win any more. ``random_lengths`` is ours: see
``epymarl_lmac/tasks/hallway_optimum.py`` for why the published form needs no messages and this one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.array_env import ArrayEnv
from envs.batched import StepResult
from envs.random_streams import draw_each
from epymarl_lmac.tasks.hallway import ACTIONS, HallwaySettings


class _Corridors(ArrayEnv):
    """The game of both forms; ``hallway`` is the one with a single group."""

    def __init__(self, settings: HallwaySettings, num_envs: int, seed: int) -> None:
        super().__init__(settings.env, num_envs, seed, settings.n_agents)
        self.settings = s = settings
        N = s.n_agents
        self.n_actions = len(ACTIONS)
        self.episode_limit = s.episode_limit
        self._shows_active = s.env == "hallway_group"
        self._high_N = np.array(s.lengths, np.int64)
        self._group_NG = np.array(s.group_ids)[:, None] == np.arange(s.n_groups)
        self._pos_BN = np.zeros((num_envs, N), np.int32)
        self._length_BN = np.zeros((num_envs, N), np.int32)
        self._active_BN = np.zeros((num_envs, N), np.bool_)
        self._open_BG = np.zeros((num_envs, s.n_groups), np.bool_)  # groups that have neither won nor failed
        self._won_B = np.zeros(num_envs, np.int32)
        self._failed_B = np.zeros(num_envs, np.int32)
        self.obs_dim = 2 if self._shows_active else 1
        self.state_dim = N * self.obs_dim + (N if s.random_lengths else 0)
        self.obs_BNO = np.zeros((num_envs, N, self.obs_dim), np.float32)
        self.state_BS = np.zeros((num_envs, self.state_dim), np.float32)
        self.avail_BNA = np.ones((num_envs, N, self.n_actions), np.uint8)
        self.reset()

    @property
    def rules(self) -> str:
        form = "random lengths" if self.settings.random_lengths else "published"
        return f"{self.name} {form}"

    def _game_arrays(self) -> dict[str, np.ndarray]:
        return {
            "pos_BN": self._pos_BN,
            "length_BN": self._length_BN,
            "active_BN": self._active_BN,
            "open_BG": self._open_BG,
            "won_B": self._won_B,
            "failed_B": self._failed_B,
        }

    def _start(self, which_B: np.ndarray) -> None:
        draw_each(which_B, self._rng_B4, self._high_N, self._pos_BN)
        self._length_BN[which_B] = self._pos_BN[which_B] if self.settings.random_lengths else self._high_N
        self._active_BN[which_B] = True
        self._open_BG[which_B] = True
        self._won_B[which_B] = 0
        self._failed_B[which_B] = 0
        self._redraw()

    def _limit_B(self) -> np.ndarray:
        return self._length_BN.max(1) + np.int32(self.settings.time_slack)

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended by one step.

        Args:
            actions_BN: integer (B, N), 0 stay, 1 left (towards cell 0), 2 right.

        Returns:
            The step's result; ``info`` has ``success`` (all groups have won) and ``groups_won``.

        Raises:
            ValueError: wrong shape, or an action outside 0..2. Nothing has changed then.
        """
        actions_BN = self._checked_actions(actions_BN)
        moves_BN = self._active_BN & self._live_B[:, None]
        step_BN = ((actions_BN == 2).astype(np.int32) - (actions_BN == 1)) * moves_BN
        self._pos_BN[:] = np.clip(self._pos_BN + step_BN, 0, self._length_BN)
        reward_B = self._close_groups()
        n_groups = self.settings.n_groups
        over_B = (self._won_B == n_groups) | (self._failed_B == n_groups)
        success_B = (self._won_B == n_groups).astype(np.float32)
        info = {"success": success_B, "groups_won": self._won_B.astype(np.float32)}
        result = self._finish(reward_B, over_B, self.settings.time_limit_terminates, info)
        self._redraw()
        return result

    def _close_groups(self) -> np.ndarray:
        """Closes groups of which somebody stands in cell 0. Returns the reward, float (B,)."""
        home_BN = self._pos_BN == 0
        open_BG = self._open_BG & self._live_B[:, None]
        size_G = self._group_NG.sum(0)
        home_BG = home_BN.astype(np.int64) @ self._group_NG
        wins_BG = open_BG & (home_BG == size_G)
        fails_BG = open_BG & (home_BG > 0) & ~wins_BG
        n_wins_B = wins_BG.sum(1)
        clash_B = n_wins_B > 1
        self._open_BG &= ~(wins_BG | fails_BG)
        stopped_BG = fails_BG | (wins_BG & ~clash_B[:, None])
        self._active_BN &= ~(stopped_BG @ self._group_NG.T)
        self._won_B += np.where(clash_B, 0, n_wins_B)
        self._failed_B += fails_BG.sum(1)
        return self.settings.reward_win * np.where(clash_B, -0.5 * n_wins_B, n_wins_B)

    def _redraw(self) -> None:
        N = self.n_agents
        self.obs_BNO[:, :, 0] = self._pos_BN
        if self._shows_active:
            self.obs_BNO[:, :, 1] = self._active_BN
        self.state_BS[:, : N * self.obs_dim] = self.obs_BNO.reshape(len(self.obs_BNO), -1)
        if self.settings.random_lengths:
            self.state_BS[:, N * self.obs_dim :] = self._length_BN

    def _as_text(self, copy: int) -> str:
        lines = []
        for i in range(self.n_agents):
            cells = ["G"] + ["."] * int(self._length_BN[copy, i])
            cells[self._pos_BN[copy, i]] = "a" if self._active_BN[copy, i] else "x"
            group = f" (group {self.settings.group_ids[i]})" if self.settings.n_groups > 1 else ""
            lines.append(f"{i}{group} " + "".join(cells))
        return "\n".join(lines)


class HallwayEnv(_Corridors):
    """B games of hallway; all agents are one group.

    Args:
        num_envs: number B of copies.
        seed: root of the copies' random streams.
        lengths: length of every agent's corridor, cells.
        reward_win: reward if all arrive in the same step.
        random_lengths: draw every corridor's length each episode, with ``lengths`` as the largest ones. Agents then
            start at the far end, and the time limit follows from the lengths drawn.
        time_slack: steps that an episode may last beyond the longest corridor.
        time_limit_terminates: report the time limit as a termination (True) or a truncation (False).

    Raises:
        TaskError: the settings describe no playable game.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        *,
        lengths: Sequence[int],
        reward_win: float,
        random_lengths: bool,
        time_slack: int,
        time_limit_terminates: bool,
    ) -> None:
        env_args = {
            "lengths": lengths,
            "reward_win": reward_win,
            "random_lengths": random_lengths,
            "time_slack": time_slack,
            "time_limit_terminates": time_limit_terminates,
        }
        super().__init__(HallwaySettings.from_env_args("hallway", env_args), num_envs, seed)


class HallwayGroupEnv(_Corridors):
    """B games of hallway with groups that must arrive at different times.

    Args:
        num_envs: number B of copies.
        seed: root of the copies' random streams.
        group_ids: group of every agent, 0, 1, ...
        lengths: as for ``HallwayEnv``, and so are the others.

    Raises:
        TaskError: the settings describe no playable game.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        *,
        lengths: Sequence[int],
        group_ids: Sequence[int],
        reward_win: float,
        random_lengths: bool,
        time_slack: int,
        time_limit_terminates: bool,
    ) -> None:
        env_args = {
            "lengths": lengths,
            "group_ids": group_ids,
            "reward_win": reward_win,
            "random_lengths": random_lengths,
            "time_slack": time_slack,
            "time_limit_terminates": time_limit_terminates,
        }
        super().__init__(HallwaySettings.from_env_args("hallway_group", env_args), num_envs, seed)
