"""Predator-prey for many copies at once, in the two forms that communication and value methods report on.

``ic3net``: predators look for a prey that stands still and earn most if all come to it. Rules: A. Singh, T. Jain,
S. Sukhbaatar (IC3Net), ICLR 2019, mode "cooperative", as the released environment plays them; the tests compare both
step by step. The loops are in ``predator_prey_kernels.py``.

``penalty``: a moving prey is caught by two predators at once, and an attempt by one alone is punished. Rules:
W. Boehmer, V. Kurin, S. Whiteson, "Deep Coordination Graphs", ICML 2020, section "relative overgeneralization", and
their released settings, without the layer for a second kind of prey, which is empty there. The loops are in
``prey_capture_kernels.py``.
"""

from __future__ import annotations

import numpy as np

from envs import predator_prey_kernels as search
from envs import prey_capture_kernels as capture
from envs.array_env import ArrayEnv
from envs.batched import StepResult
from epymarl_lmac.tasks.predator_prey import PredatorPreySettings


class PredatorPreyEnv(ArrayEnv):
    """B copies of predator-prey.

    With rules "penalty" ``alive_BN`` says which predators are still on the grid; the others see zeros and can only
    stay.

    Args:
        num_envs: number B of copies.
        seed: root of the copies' random streams.
        rules: "ic3net" or "penalty".
        players: number N of predators.
        prey: number of prey; 1 with "ic3net".
        size: rows and columns of the grid.
        vision: cells seen in every direction.
        stay: whether predators may stay where they are ("ic3net" only).
        penalty: reward lost when one predator tries to catch a prey alone ("penalty" only).
        max_episode_steps: time limit in steps.
        time_limit_terminates: report the time limit as a termination (True) or a truncation (False).

    Raises:
        TaskError: the settings describe no playable game.
    """

    has_alive = True

    def __init__(
        self,
        num_envs: int,
        seed: int,
        *,
        rules: str,
        players: int,
        prey: int,
        size: int,
        vision: int,
        stay: bool,
        penalty: float,
        max_episode_steps: int,
        time_limit_terminates: bool,
    ) -> None:
        self.settings = s = PredatorPreySettings.from_env_args(
            {
                "rules": rules,
                "players": players,
                "prey": prey,
                "size": size,
                "vision": vision,
                "stay": stay,
                "penalty": penalty,
                "max_episode_steps": max_episode_steps,
                "time_limit_terminates": time_limit_terminates,
            }
        )
        super().__init__("predator_prey", num_envs, seed, s.players)
        self.n_actions = len(s.actions)
        self.episode_limit = s.max_episode_steps
        self.obs_dim, self.state_dim = s.obs_dim, s.state_dim
        self._is_search = s.rules == "ic3net"
        self._share_P = (np.arange(s.size) / max(s.size - 1, 1)).astype(np.float32)  # a row or column in the state
        self._seen_PW = search.seen_columns(s.size, s.vision)
        self._never_over_B = np.zeros(num_envs, np.bool_)
        self._pos_BK2 = np.zeros((num_envs, s.players + s.prey, 2), np.int32)  # predators, then prey
        self._reached_BN = np.zeros((num_envs, s.players), np.bool_)  # predators on the prey (ic3net)
        self._on_BK = np.ones((num_envs, s.players + s.prey), np.bool_)  # who is on the grid (penalty)
        self.player_reward_BN = np.zeros((num_envs, s.players), np.float64)  # of the last step; zeros with "penalty"
        self.obs_BNO = np.zeros((num_envs, s.players, s.obs_dim), np.float32)
        self.state_BS = np.zeros((num_envs, s.state_dim), np.float32)
        self.avail_BNA = np.ones((num_envs, s.players, self.n_actions), np.uint8)
        self._redraw()
        self.reset()

    @property
    def rules(self) -> str:
        return "predator_prey ic3net cooperative" if self._is_search else "predator_prey penalty (DCG)"

    def _game_arrays(self) -> dict[str, np.ndarray]:
        own = {"reached_BN": self._reached_BN} if self._is_search else {"on_BK": self._on_BK}
        return {"pos_BK2": self._pos_BK2, **own}

    def _start(self, which_B: np.ndarray) -> None:
        s = self.settings
        if self._is_search:
            shown = (self.obs_BNO, self.state_BS, self._share_P, self._seen_PW)
            search.start_copies(which_B, self._rng_B4, self._pos_BK2, self._reached_BN, *shown, s.vision)
        else:
            capture.start_copies(which_B, self._rng_B4, self._pos_BK2, self._on_BK, s.size)
            self._draw_capture(which_B)

    def _redraw(self) -> None:
        if self._is_search:
            shown = (self.obs_BNO, self.state_BS, self._share_P, self._seen_PW)
            search.draw_copies(self._pos_BK2, self._reached_BN, *shown, self.settings.vision)
        else:
            self._draw_capture(np.ones_like(self._live_B))

    def _draw_capture(self, which_B: np.ndarray) -> None:
        s = self.settings
        shown = (self.obs_BNO, self.state_BS, self.avail_BNA, self.alive_BN)
        capture.draw_copies(which_B, self._pos_BK2, self._on_BK, *shown, s.size, s.vision)

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended by one step.

        Args:
            actions_BN: integer (B, N), see ``epymarl_lmac.tasks.predator_prey.ACTIONS`` for their order. One that is
                not possible acts as staying.

        Returns:
            The step's result; ``info`` has ``success`` (all predators on the prey, or as many prey caught as can
            be) and, with rules "penalty", ``prey_caught``.

        Raises:
            ValueError: wrong shape, or an unknown action. Nothing has changed then.
        """
        actions_BN = self._checked_actions(actions_BN)
        return self._search(actions_BN) if self._is_search else self._capture(actions_BN)

    def _search(self, actions_BN: np.ndarray) -> StepResult:
        s = self.settings
        reward_B, info_2B = np.empty(len(self._live_B)), np.empty((2, len(self._live_B)), np.float32)
        search.step_copies(
            actions_BN, self._live_B, self._pos_BK2, self._reached_BN, self.obs_BNO, self.state_BS,
            self.player_reward_BN, reward_B, info_2B, self._share_P, self._seen_PW, s.vision,
        )  # fmt: skip
        info = {"success": info_2B[0], "reached_prey": info_2B[1]}
        return self._finish(reward_B, self._never_over_B, s.time_limit_terminates, info)

    def _capture(self, actions_BN: np.ndarray) -> StepResult:
        s = self.settings
        reward_B, over_B = np.zeros(len(self._live_B)), np.zeros_like(self._live_B)
        capture.step_copies(
            actions_BN, self._rng_B4, self._live_B, self._pos_BK2, self._on_BK, self.obs_BNO, self.state_BS,
            self.avail_BNA, self.alive_BN, reward_B, over_B, s.size, s.vision, s.penalty,
        )  # fmt: skip
        caught_B = (~self._on_BK[:, s.players :]).sum(1).astype(np.float32)
        success_B = (caught_B == min(s.players // 2, s.prey)).astype(np.float32)
        info = {"success": success_B, "prey_caught": caught_B}
        return self._finish(reward_B, over_B, s.time_limit_terminates, info)

    def _as_text(self, copy: int) -> str:
        """Predators as letters, prey as P; ``*`` and a number where several share a cell."""
        s = self.settings
        here: dict[tuple[int, int], list[str]] = {}
        for k, (row, col) in enumerate(self._pos_BK2[copy].tolist()):
            if self._on_BK[copy, k]:
                here.setdefault((row, col), []).append(chr(ord("a") + k % 26) if k < s.players else "P")
        cells = [[" ."] * s.size for _ in range(s.size)]
        for (row, col), who in here.items():
            cells[row][col] = f" {who[0]}" if len(who) == 1 else f"*{len(who)}"
        shared = [f"* {''.join(who)}" for who in here.values() if len(who) > 1]
        return "\n".join(["".join(row) for row in cells] + shared)
