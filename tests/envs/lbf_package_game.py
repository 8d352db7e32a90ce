"""The ``lbforaging`` package as an oracle: one of its games set to one copy of ours, and scripted players.

Imported by the test files beside it; importing it skips the test module by name where the package is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.lbf import LbfEnv

pytest.importorskip("lbforaging", reason="the lbforaging package is not installed")
import gymnasium
from lbforaging.foraging.environment import ForagingEnv

PUBLISHED: dict[str, Any] = {
    "rules": "published",
    "players": 2,
    "max_player_level": 2,
    "field_size": 8,
    "max_food": 2,
    "sight": 1,
    "max_episode_steps": 25,
    "force_coop": True,
    "normalize_reward": True,
    "grid_observation": True,
    "time_limit_terminates": True,
    "min_player_level": 1,
    "min_food_level": 1,
    "max_food_level": None,
    "penalty": 0.0,
    "observe_agent_levels": True,
}
V3 = {**PUBLISHED, "rules": "v3", "max_episode_steps": 50, "force_coop": False, "grid_observation": False}


class _AnySpace(gymnasium.Space):
    """Stands in for the package's observation space, whose shape is wrong with grid observations."""

    def contains(self, x) -> bool:
        return True


class PackageGame(ForagingEnv):
    """One game of the package with the settings of ours, its state copied from a copy of ours."""

    def __init__(self, ours: LbfEnv) -> None:
        s = ours.settings
        self._flat_length = ours.obs_dim
        super().__init__(
            players=s.players,
            min_player_level=list(s.player_low),
            max_player_level=list(s.player_high),
            min_food_level=list(s.food_low),
            max_food_level=None if s.food_high is None else list(s.food_high),
            field_size=s.field_size,
            max_num_food=s.max_food,
            sight=s.sight,
            max_episode_steps=s.max_episode_steps,
            force_coop=s.force_coop,
            normalize_reward=s.normalize_reward,
            grid_observation=s.grid_observation,
            observe_agent_levels=s.observe_agent_levels,
            penalty=s.penalty,
        )

    def _get_observation_space(self):
        return _AnySpace((self._flat_length,))

    def set_to(self, state: dict[str, np.ndarray], copy: int) -> None:
        """Takes over the start of an episode from ``LbfEnv.state_dict``."""
        self.field = state["field_BRC"][copy].astype(np.int32)
        for i, player in enumerate(self.players):
            row, col = state["pos_BN2"][copy, i].tolist()
            player.setup((row, col), int(state["level_BN"][copy, i]), self.field_size)
        self._food_spawned = self.field.sum()
        self.current_step = 0
        self._game_over = False
        self._gen_valid_moves()

    def obs_NO(self) -> np.ndarray:
        return np.stack([np.asarray(o, np.float32).ravel() for o in self._make_gym_obs()])

    def positions(self) -> list[list[int]]:
        return [[int(x) for x in player.position] for player in self.players]


def mixed_actions(state: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Returns int64 (B, N): a third uniform, else towards a food, so that foods are reached, contested and
    eaten.

    In even copies everybody goes for the same food, in odd copies for the nearest one.
    """
    field_BRC, pos_BN2 = state["field_BRC"], state["pos_BN2"]
    actions_BN = rng.integers(0, 6, pos_BN2.shape[:2])
    is_uniform_BN = rng.random(pos_BN2.shape[:2]) < 1 / 3
    rows_first_BN = rng.random(pos_BN2.shape[:2]) < 0.5
    for b in range(field_BRC.shape[0]):
        foods = np.argwhere(field_BRC[b] > 0)
        for i in np.flatnonzero(~is_uniform_BN[b]) if len(foods) else ():
            gaps = foods - pos_BN2[b, i]
            distances = np.abs(gaps).sum(1)
            goal = 0 if b % 2 == 0 else distances.argmin()
            dr, dc = gaps[goal]
            if distances[goal] == 1:
                actions_BN[b, i] = 5
            elif dc == 0 or (dr != 0 and rows_first_BN[b, i]):
                actions_BN[b, i] = 2 if dr > 0 else 1
            else:
                actions_BN[b, i] = 4 if dc > 0 else 3
    return actions_BN


def padded_layers_BS(state: dict[str, np.ndarray], sight: int, see_levels: bool) -> np.ndarray:
    """Returns the padded layers of every copy, flattened, float32 (B, S), built plainly."""
    field_BRC, pos_BN2 = state["field_BRC"], state["pos_BN2"]
    copies_B = np.arange(field_BRC.shape[0])
    agent_BRC = np.zeros(field_BRC.shape)
    for i in range(pos_BN2.shape[1]):
        shown_B = state["level_BN"][:, i] if see_levels else 1
        agent_BRC[copies_B, pos_BN2[:, i, 0], pos_BN2[:, i, 1]] = shown_B
    access_BRC = (field_BRC == 0) & (agent_BRC == 0)
    sides = ((0, 0), (sight, sight), (sight, sight))
    layers = [np.pad(layer, sides).reshape(len(copies_B), -1) for layer in (agent_BRC, field_BRC, access_BRC)]
    return np.concatenate(layers, axis=1).astype(np.float32)
