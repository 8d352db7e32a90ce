"""What the two posteriors of level-based foraging share: known levels, windows, and beliefs over the state.

Letters: T stored steps, N agents, W cells along a window, C cells of the field.
"""

from __future__ import annotations

import numpy as np

from epymarl_lmac.tasks.lbf_settings import LAYERS, LbfSettings
from epymarl_lmac.tasks.posterior import Belief


def known_levels(settings: LbfSettings) -> tuple[int, int] | None:
    """Returns the level of every player and of every food; None where they are drawn."""
    players = set(settings.player_low) | set(settings.player_high)
    if len(players) != 1:
        return None
    level = players.pop()
    cap = level * min(3, settings.players)
    low, high = set(settings.food_low), set(settings.food_high or [settings.highest_food_level])
    if settings.force_coop and settings.food_high is None:
        return level, cap
    if len(high) == 1 and (settings.force_coop or low == high):
        return level, high.pop()
    return None


def windows(settings: LbfSettings, obs_TNO: np.ndarray) -> np.ndarray:
    """Returns observations as layers of a window, (T, N, 3, W, W)."""
    side = 2 * settings.sight + 1
    return np.ascontiguousarray(obs_TNO, np.float32).reshape(*obs_TNO.shape[:2], len(LAYERS), side, side)


def belief(settings: LbfSettings, agents: np.ndarray, foods: np.ndarray) -> Belief:
    """Returns the belief over the state, of probabilities that an agent and a food is on each cell (..., C)."""
    level, food_level = known_levels(settings) or (1, 1)
    rows, cols = settings.field_size
    layers = np.stack([agents, foods, np.clip(1 - agents - foods, 0, 1)], axis=-2)
    values = np.array([level if settings.observe_agent_levels else 1, food_level, 1.0])[:, None]
    grid = layers.reshape(*layers.shape[:-1], rows, cols)
    edge = [(0, 0)] * (grid.ndim - 2) + [(settings.sight, settings.sight)] * 2
    flat = np.pad(grid, edge).reshape(*layers.shape[:-1], -1)
    mean, variance = values * flat, values**2 * flat * (1 - flat)
    shape = (*agents.shape[:-1], settings.state_dim)
    return Belief(mean.reshape(shape), variance.reshape(shape))
