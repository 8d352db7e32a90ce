"""What can be known in ``lookout``, in closed form (``src/envs/lookout.py`` has the game)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from epymarl_lmac.tasks.lookout import LookoutSettings
from epymarl_lmac.tasks.posterior import EXACT, Belief


class LookoutPosterior:
    """Nothing changes within an episode, and no action tells anything, so the first observation says all.

    The scout's view names a target that is right with probability 1 - noise; the other targets share the rest. An
    agent that is not the scout knows only that, and so that one of the others is.

    Args:
        settings: of the game.
    """

    form = EXACT
    note = "closed form"

    def __init__(self, settings: LookoutSettings) -> None:
        self.settings = settings

    def _target(self, seen_K: np.ndarray) -> np.ndarray:
        """Returns the probability of every target, given what a scout sees (one-hot) or does not (zeros)."""
        s = self.settings
        if not seen_K.any():
            return np.full(s.targets, 1 / s.targets)
        return np.where(seen_K > 0, 1 - s.noise, s.noise / (s.targets - 1))

    def _scout(self, agent: int, is_scout: bool) -> np.ndarray:
        """Returns the probability of every agent to be the scout, given whether this one is."""
        N = self.settings.players
        if is_scout or not self.settings.random_scout:
            return np.eye(N)[agent if is_scout else 0]
        return (1 - np.eye(N)[agent]) / (N - 1)

    def together(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what the histories of all agents tell: arrays (T, S)."""
        K = self.settings.targets
        first = obs_TNO[0]
        scout = np.eye(self.settings.players)[int(first[:, K].argmax())]
        return _repeated(np.concatenate([self._target(first[:, :K].max(0)), scout]), len(obs_TNO))

    def alone(self, obs_TNO: np.ndarray, actions_TN: np.ndarray) -> Belief:
        """Returns what every agent's own history tells it: arrays (T, N, S)."""
        K = self.settings.targets
        known = [
            np.concatenate([self._target(own[:K]), self._scout(agent, own[K] > 0)])
            for agent, own in enumerate(obs_TNO[0])
        ]
        return _repeated(np.stack(known), len(obs_TNO))


def _repeated(mean: np.ndarray, n_steps: int) -> Belief:
    """Returns the belief of every step; every column is 0 or 1."""
    means = np.broadcast_to(mean, (n_steps, *mean.shape))
    return Belief(means, means * (1 - means))


def posterior(env_args: Mapping[str, Any]) -> LookoutPosterior:
    """Returns the posterior of a setting.

    Raises:
        TaskError: arguments that make no game.
    """
    return LookoutPosterior(LookoutSettings.of(env_args))
