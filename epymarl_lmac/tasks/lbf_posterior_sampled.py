"""What can be known in level-based foraging on fields that are too large to enumerate, by sampling.

Courses of the game (where players start, where foods lie, what players do whose actions are not known) are drawn and
kept where they fit what was seen. Where few are left they are copied, and the copies moved by a Markov chain that
leaves the distribution of courses as it is: resample-move (Gilks and Berzuini, 2001) with tempering. What is assumed is
what ``lbf_posterior.py`` assumes: all actions are known together, team-mates act at random alone.
"""

from __future__ import annotations

import math

import numpy as np

from epymarl_lmac.tasks.lbf_belief import belief, known_levels, windows
from epymarl_lmac.tasks.lbf_courses_kernels import AGENT, ANY, EMPTY, FOOD, Game, Seen
from epymarl_lmac.tasks.lbf_posterior_sampled_kernels import follow
from epymarl_lmac.tasks.lbf_settings import NEAR, LbfSettings
from epymarl_lmac.tasks.posterior import SAMPLED, Belief

PARTICLES = 2000  # together; docs/protocols/lbf/sampled.py shows what more or fewer give
ALONE_PARTICLES = 500  # one history rules out less, and every agent has its own


class SampledLbfPosterior:
    """Draws courses of the game that fit what was seen. The same histories get the same draws.

    Args:
        settings: of the game; levels must be known, observations grids with a sight of at least 1.
        why: why the field is not enumerated, one clause.
        particles: courses that are followed for what can be known together.
        alone_particles: the same for what each agent can know.
    """

    form = SAMPLED

    def __init__(
        self, settings: LbfSettings, why: str, particles: int = PARTICLES, alone_particles: int = ALONE_PARTICLES
    ) -> None:
        self.settings, self.why = settings, why
        self.particles, self.alone_particles = particles, alone_particles
        rows, cols = settings.field_size
        sight, (_, width) = settings.sight, settings.padded_size
        field = np.pad(np.full((rows, cols), EMPTY, np.int8), sight).ravel()
        near = [dr * width + dc for dr, dc in NEAR]
        window = [dr * width + dc for dr in range(-sight, sight + 1) for dc in range(-sight, sight + 1)]
        level, food_level = known_levels(settings) or (1, 1)
        need = math.ceil(food_level / level)
        self._game = Game(field, np.flatnonzero(field), np.array(near), np.array(window), width, sight, need)
        self.n_passed_over = 0  # entries of windows that no particle could fit, so far

    @property
    def note(self) -> str:
        """How it was found and what it assumes."""
        passed_over = f"{self.n_passed_over:,} entries of windows fitted none and were passed over"
        return (
            f"{self.particles:,} sampled courses of the game together, {self.alone_particles:,} alone, as it is too "
            f"large to enumerate ({self.why}); alone: team-mates act at random; {passed_over}"
        )

    def together(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what the histories of all agents tell at every step: arrays (T, S)."""
        everybody = np.arange(self.settings.players)
        return belief(self.settings, *self._follow(obs_TNO, actions_TN, everybody, self.particles))

    def alone(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what every agent's own history tells it at every step: arrays (T, N, S)."""
        each = np.arange(self.settings.players)[:, None]
        parts = [self._follow(obs_TNO, actions_TN, one, self.alone_particles) for one in each]
        agents_TNC, foods_TNC = (np.stack([part[k] for part in parts], axis=1) for k in range(2))
        return belief(self.settings, agents_TNC, foods_TNC)

    def _follow(
        self, obs_TNO: np.ndarray, actions_TN: np.ndarray, watched_K: np.ndarray, particles: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probabilities that an agent (T, C) and a food (T, C) is on each cell."""
        layers_TK3WW = windows(self.settings, obs_TNO)[:, watched_K] > 0
        kinds_311 = np.array([AGENT, FOOD, EMPTY], np.int8)[:, None, None]
        entry_L = (layers_TK3WW * kinds_311).sum(2, dtype=np.int8).ravel()
        actions = np.ascontiguousarray(actions_TN, np.int8)
        seen = Seen(entry_L, watched_K)
        agents_TG, foods_TG = follow(actions, seen, self._game, particles, self.settings.max_food, 0)
        self.n_passed_over += int((entry_L == ANY).sum())
        return agents_TG[:, self._game.cell_C], foods_TG[:, self._game.cell_C]
