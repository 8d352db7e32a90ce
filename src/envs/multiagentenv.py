"""The environment interface that runners expect, under EPyMARL's method names."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class MultiAgentEnv(abc.ABC):
    """One environment with N agents and a common reward.

    Optional, for our runners: an environment with ``has_alive`` also has ``get_alive() -> bool (N,)``, the agents alive
    now, after a reset too; one with ``reward_per_agent`` has ``get_agent_rewards() -> float32 (N,)``, the rewards of
    the last step. With ``seeds_episodes`` an episode after ``reset(seed=...)`` follows from that seed and the actions
    alone, whatever was played before; the ``parallel`` runner then lets the environment's process choose the actions.
    An environment with ``views() -> observations (N, O), state (S,), available actions (N, A)`` may give out arrays
    that its next step writes into, which saves a copy of each.
    """

    n_agents: int
    episode_limit: int  # longest episode, steps
    has_alive: bool = False
    reward_per_agent: bool = False
    seeds_episodes: bool = False

    @abc.abstractmethod
    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        """Starts an episode; returns (observations, one array an agent; info)."""

    @abc.abstractmethod
    def step(self, actions: Sequence[int] | np.ndarray) -> tuple[list, float, bool, bool, dict]:
        """Returns (observations, reward, terminated, truncated, info)."""

    @abc.abstractmethod
    def get_obs(self) -> list:
        """Returns the current observations, one float32 (O,) array an agent."""

    @abc.abstractmethod
    def get_obs_size(self) -> int:
        """Returns O."""

    @abc.abstractmethod
    def get_state(self) -> Any:
        """Returns the true global state, float32 (S,)."""

    @abc.abstractmethod
    def get_state_size(self) -> int:
        """Returns S."""

    @abc.abstractmethod
    def get_avail_actions(self) -> list:
        """Returns 0/1 per action, one list an agent."""

    @abc.abstractmethod
    def get_total_actions(self) -> int:
        """Returns A."""

    def get_obs_agent(self, agent_id: int) -> Any:
        """Returns agent ``agent_id``'s observation."""
        return self.get_obs()[agent_id]

    def get_avail_agent_actions(self, agent_id: int) -> list:
        """Returns agent ``agent_id``'s row of the available actions."""
        return self.get_avail_actions()[agent_id]

    def render(self, mode: str = "text") -> Any:
        """Returns a picture of the current step, where the environment has one."""
        raise ValueError(f"{type(self).__name__} has no render mode {mode!r}.")

    def for_tests(self) -> None:
        """Makes all later episodes those of a test; our runners call it once, before the first, where tests are played.

        Only for environments whose rules change while training goes on; others leave it out.
        """

    def close(self) -> None:
        """Frees what the environment holds."""

    def seed(self, seed: int | None = None) -> Any:
        """Seeds later resets, where the environment allows it after construction."""

    def save_replay(self) -> None:
        """Writes a replay, where the environment has a format for it."""

    def get_stats(self) -> dict:
        """Returns counters over all episodes so far."""
        return {}

    def get_env_info(self) -> dict[str, int]:
        """Returns the sizes a learner needs."""
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }
