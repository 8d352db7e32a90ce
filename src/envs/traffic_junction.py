"""Traffic junction: cars that arrive, cross and leave, and must not share a cell.

Rules: S. Sukhbaatar, A. Szlam, R. Fergus, "Learning Multiagent Communication with Backpropagation" (CommNet), NeurIPS
2016, and A. Singh, T. Jain, S. Sukhbaatar (IC3Net), ICLR 2019, as the environment released with the latter plays them;
the tests compare both step by step. The loops are in ``traffic_junction_kernels.py``, the roads in
``epymarl_lmac/tasks/traffic_routes.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs import traffic_junction_kernels as kernels
from envs.array_env import ArrayEnv
from envs.batched import StepResult
from epymarl_lmac.tasks.traffic_junction import ACTIONS, TrafficSettings

RATE_STEP = 0.01  # a curriculum's add rate is rounded down to a multiple of this, as in the reference


class TrafficJunctionEnv(ArrayEnv):
    """B copies of the traffic junction.

    ``alive_BN`` says which agents have a car in the system. The others see zeros and can only choose gas, which does
    nothing then.

    Args:
        num_envs: number B of copies.
        seed: root of the copies' random streams.
        difficulty: "easy", "medium" or "hard".
        players: largest number of cars at a time, N.
        size: cells on each side of the grid (easy adds one).
        vision: cells seen in every direction, 0 or 1.
        add_rate: probability of an arrival, for each arrival point and step.
        curriculum: None, or [add rate at the start, first episode, last episode]: the rate rises linearly between the
            two episodes of a copy, counted from 0. Copies that play tests have the final rate throughout.
        vocabulary: "cells" shows road cells one-hot, "coordinates" the car's row and column instead.
        max_episode_steps: length of an episode, steps.
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
        difficulty: str,
        players: int,
        size: int,
        vision: int,
        add_rate: float,
        curriculum: Sequence[float] | None,
        vocabulary: str,
        max_episode_steps: int,
        time_limit_terminates: bool,
    ) -> None:
        self.settings = s = TrafficSettings.from_env_args(
            {
                "difficulty": difficulty,
                "players": players,
                "size": size,
                "vision": vision,
                "add_rate": add_rate,
                "curriculum": curriculum,
                "vocabulary": vocabulary,
                "max_episode_steps": max_episode_steps,
                "time_limit_terminates": time_limit_terminates,
            }
        )
        super().__init__("traffic_junction", num_envs, seed, s.players)
        self.n_actions = len(ACTIONS)
        self.episode_limit = s.max_episode_steps
        self.obs_dim = s.obs_dim
        self.state_dim = kernels.CAR_COLUMNS * s.players

        arrivals = s.routes
        every = [route for arrival in arrivals for route in arrival]
        self._n_per_arrival = len(arrivals[0])
        self._length_R = np.array([len(route) for route in every], np.int32)
        self._cell_RK2 = np.zeros((len(every), self._length_R.max(), 2), np.int32)
        for r, route in enumerate(every):
            self._cell_RK2[r, : len(route)] = route
        outside = s.base if s.vocabulary == "cells" else -1
        self._class_PQ = np.pad(np.array(s.classes(), np.int32), s.vision, constant_values=outside)

        self._cars_BN5 = np.zeros((num_envs, s.players, 5), np.int32)
        self._has_curriculum = s.curriculum is not None
        self._crashed_B = np.zeros(num_envs, np.bool_)
        self._episode_B = np.full(num_envs, -1, np.int64)  # number of the current episode of every copy, from 0
        self.player_reward_BN = np.zeros((num_envs, s.players), np.float64)  # of the last step
        self.obs_BNO = np.zeros((num_envs, s.players, s.obs_dim), np.float32)
        self.state_BS = np.zeros((num_envs, self.state_dim), np.float32)
        self.avail_BNA = np.ones((num_envs, s.players, self.n_actions), np.uint8)
        self.reset()

    @property
    def rules(self) -> str:
        return f"traffic_junction {self.settings.difficulty} (IC3Net)"

    def _game_arrays(self) -> dict[str, np.ndarray]:
        return {"cars_BN5": self._cars_BN5, "crashed_B": self._crashed_B, "episode_B": self._episode_B}

    def _start(self, which_B: np.ndarray) -> None:
        self._cars_BN5[which_B] = 0
        self._cars_BN5[which_B, :, kernels.ROUTE] = -1
        self._crashed_B[which_B] = False
        self._episode_B[which_B] += 1
        self._draw(which_B)

    def _redraw(self) -> None:
        self._draw(np.ones_like(self._live_B))

    def _draw(self, which_B: np.ndarray) -> None:
        s = self.settings
        kernels.draw_copies(
            which_B, self._cars_BN5, self.obs_BNO, self.state_BS, self.avail_BNA, self.alive_BN,
            self._cell_RK2, self._class_PQ, s.vision, s.head, s.n_classes, s.car_class, s.max_episode_steps,
        )  # fmt: skip

    def for_tests(self) -> None:
        """Ends the curriculum: every later step has the final add rate."""
        self._has_curriculum = False

    def add_rate_B(self) -> np.ndarray:
        """Returns the probability of an arrival in every copy's current episode, float64 (B,)."""
        s = self.settings
        if s.curriculum is None or not self._has_curriculum:
            return np.full(len(self._live_B), s.add_rate)
        c = s.curriculum
        share_B = np.clip((self._episode_B - c.first) / (c.last - c.first), 0, 1)
        rate_B = c.start_rate + (s.add_rate - c.start_rate) * share_B
        rounded_B = RATE_STEP * np.floor(rate_B / RATE_STEP + 1e-9)
        return np.where(share_B == 1, s.add_rate, np.maximum(rounded_B, c.start_rate))

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended by one step.

        Args:
            actions_BN: integer (B, N), 0 gas, 1 brake.

        Returns:
            The step's result; ``info`` has ``success`` (no crash so far in the episode) and ``add_rate``.

        Raises:
            ValueError: wrong shape, or an action outside 0..1. Nothing has changed then.
        """
        actions_BN = self._checked_actions(actions_BN)
        s = self.settings
        rate_B = self.add_rate_B()
        kernels.step_copies(
            actions_BN, self._rng_B4, self._live_B, rate_B, self._cars_BN5, self._crashed_B,
            self.obs_BNO, self.state_BS, self.avail_BNA, self.alive_BN, self.player_reward_BN,
            self._cell_RK2, self._length_R, self._class_PQ, self._n_per_arrival,
            s.vision, s.head, s.n_classes, s.car_class, s.max_episode_steps,
        )  # fmt: skip
        info = {"success": (~self._crashed_B).astype(np.float32), "add_rate": rate_B.astype(np.float32)}
        never_B = np.zeros_like(self._live_B)
        return self._finish(self.player_reward_BN.sum(1), never_B, s.time_limit_terminates, info)

    def _as_text(self, copy: int) -> str:
        """Roads as dots, cars as their letter (capital after a brake), crashes as ``*`` and their number of cars."""
        s = self.settings
        road = {cell for arrival in s.routes for route in arrival for cell in route}
        cells = [[" ." if (r, c) in road else "  " for c in range(s.side)] for r in range(s.side)]
        where_N2 = np.zeros((s.players, 2), np.int64)
        kernels.locate(self._cars_BN5[copy], self._cell_RK2, where_N2)
        inside = self._cars_BN5[copy, :, kernels.ALIVE].astype(bool)
        for i in np.flatnonzero(inside):
            row, col = where_N2[i]
            n_here = (inside & (where_N2 == where_N2[i]).all(1)).sum()
            letter = chr(ord("a") + i % 26)
            letter = letter.upper() if self._cars_BN5[copy, i, kernels.LAST] else letter
            cells[row][col] = f"*{n_here}" if n_here > 1 else f" {letter}"
        lines = ["".join(row).rstrip() for row in cells]
        return "\n".join([f"{inside.sum()} of {s.players} cars in the system", *lines])
