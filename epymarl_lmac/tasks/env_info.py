"""The sizes and facts of an environment that exists, apart from the settings that made it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EnvInfo:
    """What learners, controllers and runners need to know about an environment.

    ``BatchedEnv.describe`` gives it; ``as_epymarl`` has the sizes under the names that hosts use.
    """

    n_agents: int  # N
    n_actions: int  # A, the longest action set of any agent
    obs_dim: int  # O
    state_dim: int  # S
    episode_limit: int  # longest episode, steps
    has_alive: bool = False  # every step says which agents are alive (StepResult.alive_BN)
    reward_per_agent: bool = False  # every step has a reward for each agent too (StepResult.reward_BN)
    seeds_episodes: bool = False  # reset(seed=...) decides the whole episode but for the actions; one copy only

    def as_epymarl(self) -> dict[str, int]:
        """Returns the sizes under EPyMARL's names."""
        return {
            "state_shape": self.state_dim,
            "obs_shape": self.obs_dim,
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }
