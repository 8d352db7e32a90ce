"""What can be known in level-based foraging, by enumerating every start that fits what was seen.

Where players and foods have one known level, an episode is settled by where players start, where foods lie, and the
actions. "Together": all actions are known, so every start of the players is followed through the episode, and the food
sets that fit are weighted by the game's own placing rule. Agents act on their own histories, which all are given here,
so what they choose tells nothing more, and this holds for any behaviour. "Alone": an agent does not know what its
team-mate does; it is taken to act uniformly at random, which is exact for random play only.

A field that is too large to enumerate has a sampled one (``lbf_posterior_sampled.py``); its size is said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from epymarl_lmac.tasks import lbf_posterior_kernels as kernels
from epymarl_lmac.tasks.lbf_belief import belief, known_levels, windows
from epymarl_lmac.tasks.lbf_posterior_sampled import SampledLbfPosterior
from epymarl_lmac.tasks.lbf_settings import NEAR, LbfSettings
from epymarl_lmac.tasks.posterior import EXACT, Belief

MAX_CELLS = 64  # a set of cells is one 64-bit number
MAX_PLAYERS = 2  # what one agent knows of several team-mates is not enumerated
MAX_STARTS = 300_000  # placements of all players
MAX_SETS = 50_000  # placements of all foods
_log = logging.getLogger(__name__)


def posterior(env_args: Mapping[str, Any]) -> LbfPosterior | SampledLbfPosterior | None:
    """Returns the posterior of a game: sampled where it cannot be enumerated, with a warning that says why.

    Returns:
        None where not even samples are known to be right; a warning says why.

    Raises:
        TaskError: the settings describe no playable game.
    """
    settings = LbfSettings.from_env_args(env_args)
    if known_levels(settings) is None or not settings.grid_observation or settings.sight < 1:
        why = "levels must be known, and observations grids with a sight of at least 1"
        _log.warning("lbf: what can be known is not computed: %s. A learned lower bound stands in.", why)
        return None
    why_sampled = too_large(settings)
    if why_sampled is None:
        return LbfPosterior(settings)
    _log.warning("lbf: what can be known is not enumerated but sampled: %s.", why_sampled)
    return SampledLbfPosterior(settings, why_sampled)


def too_large(settings: LbfSettings) -> str | None:
    """Returns why a field cannot be enumerated, with its size; None if it can."""
    rows, cols = settings.field_size
    starts = (rows * cols) ** settings.players
    inner = (rows - 2) * (cols - 2)
    sets = 1.0
    for k in range(settings.max_food):
        sets = sets * max(1, inner - k) / (k + 1)
    if settings.players > MAX_PLAYERS:
        return f"{settings.players} players on {rows}x{cols} cells; at most {MAX_PLAYERS} can be enumerated"
    if rows * cols > MAX_CELLS:
        return f"a field of {rows}x{cols} has {rows * cols} cells and at most {MAX_CELLS} can be enumerated"
    if starts > MAX_STARTS or sets > MAX_SETS:
        return (
            f"{settings.players} players and {settings.max_food} foods on {rows}x{cols} cells have up to {starts:.2g} "
            f"starts and {sets:.2g} food sets; {MAX_STARTS:,} and {MAX_SETS:,} can be enumerated"
        )
    return None


class LbfPosterior:
    """Enumerates a small field.

    Args:
        settings: of the game; levels must be known.
    """

    form = EXACT

    def __init__(self, settings: LbfSettings) -> None:
        self.settings = settings
        rows, cols = settings.field_size
        self.size = (rows, cols)
        inner = [r * cols + c for r in range(1, rows - 1) for c in range(1, cols - 1)]
        self._near_C = np.array([_mask(_near(cell, rows, cols)) for cell in range(rows * cols)], np.uint64)
        self._interior = np.uint64(_mask(inner))
        found = [cells for k in range(settings.max_food + 1) for cells in combinations(inner, k) if _apart(cells, cols)]
        self._sets_S = np.array([_mask(cells) for cells in found], np.uint64)
        self._size_S = np.array([len(cells) for cells in found], np.int64)
        self._cells_SF = np.full((len(found), max(1, settings.max_food)), -1, np.int64)
        self._without_SF = np.zeros_like(self._cells_SF)
        index = {cells: s for s, cells in enumerate(found)}
        for s, cells in enumerate(found):
            self._cells_SF[s, : len(cells)] = cells
            for k in range(len(cells)):
                self._without_SF[s, k] = index[cells[:k] + cells[k + 1 :]]
        self.note = (
            f"every start of {settings.players} players and {len(found)} food sets; alone: team-mates act at random"
        )

    def _starts(self, windows_N3WW: np.ndarray) -> np.ndarray:
        """Returns the starts (H, N, 2) of all players whose walls agree with their first windows."""
        rows, cols = self.size
        sight = self.settings.sight
        each = []
        for window in windows_N3WW:
            inside = window.sum(0) > 0
            offsets = np.arange(-sight, sight + 1)
            cells = [
                (r, c)
                for r in range(rows)
                for c in range(cols)
                if np.array_equal(
                    inside,
                    ((r + offsets >= 0) & (r + offsets < rows))[:, None] & ((c + offsets >= 0) & (c + offsets < cols)),
                )
            ]
            each.append(np.array(cells, np.int64).reshape(-1, 2))
        grids = np.meshgrid(*(np.arange(len(cells)) for cells in each), indexing="ij")
        starts = np.stack([cells[grid.ravel()] for cells, grid in zip(each, grids, strict=True)], axis=1)
        flat = np.sort(starts[..., 0] * cols + starts[..., 1], axis=1)
        return np.ascontiguousarray(starts[(np.diff(flat, axis=1) > 0).all(1)])

    def _game(self) -> tuple[int, int, int, int, int]:
        level, food_level = known_levels(self.settings) or (1, 1)
        return *self.size, self.settings.sight, level, food_level

    def together(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what the histories of all agents tell at every step: arrays (T, S)."""
        seen = windows(self.settings, obs_TNO)
        agents_TC, foods_TC = kernels.together(
            seen, np.ascontiguousarray(actions_TN, np.int64), self._starts(seen[0]), self._sets_S, self._cells_SF,
            self._size_S, self._near_C, self._interior, self.settings.max_food, *self._game(),
        )  # fmt: skip
        return belief(self.settings, agents_TC, foods_TC)

    def alone(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what every agent's own history tells it at every step: arrays (T, N, S)."""
        if self.settings.players == 1:
            found = self.together(obs_TNO, actions_TN)
            return Belief(found.mean[:, None], found.variance[:, None])
        seen, actions = windows(self.settings, obs_TNO), np.ascontiguousarray(actions_TN, np.int64)
        parts = [
            kernels.alone(
                np.ascontiguousarray(seen[:, i]), np.ascontiguousarray(actions[:, i]), self._sets_S, self._cells_SF,
                self._size_S, self._without_SF, self._near_C, self._interior, self.settings.max_food, *self._game(),
            )
            for i in range(2)
        ]  # fmt: skip
        agents, foods = (np.stack([part[k] for part in parts], axis=1) for k in range(2))
        return belief(self.settings, agents, foods)


def _mask(cells: Any) -> int:
    """Returns cells as the bits of one number."""
    return sum(1 << int(cell) for cell in cells)


def _near(cell: int, rows: int, cols: int) -> list[int]:
    """Returns the cells that a food excludes: its 3x3 neighbourhood, and two steps along its row and column."""
    r, c = divmod(cell, cols)
    return [(r + dr) * cols + c + dc for dr, dc in NEAR if 0 <= r + dr < rows and 0 <= c + dc < cols]


def _apart(cells: tuple[int, ...], cols: int) -> bool:
    """Returns whether no two of these cells exclude each other."""
    return all(abs(a // cols - b // cols) + abs(a % cols - b % cols) > 2 for a, b in combinations(cells, 2))
