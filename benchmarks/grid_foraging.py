"""The ``lbforaging`` package's 8x8-2p-2f-coop game with grid observations, as a Gymnasium id for opponents' hosts.

The package's own grid setting raises in its constructor: the observation space gets a wrong shape. This subclass
gives the right one and changes nothing else. Use: ``env_args.key=grid_foraging:GridForaging-8x8-2p-2f-coop-v3`` with
this folder on ``PYTHONPATH``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from lbforaging.foraging.environment import ForagingEnv

SIGHT, HIGHEST_LEVEL = 1, 2


class GridForagingEnv(ForagingEnv):
    """Two level-1 players, two foods that need both, windows of three layers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            players=2,
            min_player_level=1,
            max_player_level=1,
            min_food_level=1,
            max_food_level=None,
            field_size=(8, 8),
            max_num_food=2,
            sight=SIGHT,
            max_episode_steps=25,
            force_coop=True,
            grid_observation=True,
            **kwargs,
        )

    def _get_observation_space(self) -> gymnasium.spaces.Box:
        side = 2 * SIGHT + 1
        return gymnasium.spaces.Box(0.0, float(HIGHEST_LEVEL), (3, side, side), np.float32)


gymnasium.register("GridForaging-8x8-2p-2f-coop-v3", entry_point="grid_foraging:GridForagingEnv")
