"""Environments written for many copies at once: the interface, and one copy seen as an EPyMARL environment.

Letters: B copies, N agents, O observation, S state, A actions.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.multiagentenv import MultiAgentEnv
from envs.scene import Scene
from epymarl_lmac.tasks.env_info import EnvInfo


class StepResult(NamedTuple):
    """What one step did in every copy. A copy that had already ended reports 0, False, False.

    The last two are given by environments that say so in ``has_alive`` and ``reward_per_agent``, at every step.
    """

    reward_B: np.ndarray  # float32 (B,), common reward of the team
    terminated_B: np.ndarray  # bool (B,), the task ended (no bootstrapping past here)
    truncated_B: np.ndarray  # bool (B,), the time limit cut the episode (bootstrapping allowed)
    info: dict[str, np.ndarray]  # float32 (B,) each; read by runners in the step in which a copy ends
    alive_BN: np.ndarray | None = None  # bool (B, N), which agents are alive in the step now reached
    reward_BN: np.ndarray | None = None  # float32 (B, N), reward of every agent


class BatchedEnv(abc.ABC):
    """B independent copies of one task, stepped as arrays in one process.

    ``obs_BNO``, ``state_BS`` (float32) and ``avail_BNA`` (uint8) always describe the current step. They belong
    to the environment and are overwritten by the next ``reset`` or ``step``: copy what must outlive it.
    An environment whose agents may be dead right after a ``reset`` keeps ``alive_BN`` in the same way; in others all
    live then.
    """

    num_envs: int
    n_agents: int
    n_actions: int
    episode_limit: int
    obs_dim: int
    state_dim: int
    obs_BNO: np.ndarray
    state_BS: np.ndarray
    avail_BNA: np.ndarray
    alive_BN: np.ndarray | None = None  # 0/1 (B, N), who lives in the current step, where the environment keeps it
    has_alive: bool = False  # every StepResult has alive_BN
    reward_per_agent: bool = False  # every StepResult has reward_BN
    seeds_episodes: bool = False  # see EnvInfo

    @abc.abstractmethod
    def reset(self) -> None:
        """Starts a new episode in every copy, drawing from each copy's own generator."""

    @abc.abstractmethod
    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves every copy that has not ended by one step.

        Args:
            actions_BN: int64 (B, N), action of every agent.
        """

    @abc.abstractmethod
    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns everything that later steps depend on, generators included, as arrays."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned; the next steps are then equal to the bit."""

    @property
    @abc.abstractmethod
    def rules(self) -> str:
        """Name and version of the rules for the run record, e.g. ``"lbf published"``."""

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        """Returns one copy as text (``mode="text"``) or as a uint8 (H, W, 3) frame (``mode="rgb"``)."""
        raise ValueError(f"{type(self).__name__} cannot render mode {mode!r}.")

    def scene(self, copy: int = 0) -> Scene | None:
        """Returns what a picture of one copy shows; None where the environment has no places to draw."""
        return None

    def for_tests(self) -> None:
        """Makes all later episodes those of a test; runners call it once, before the first, on copies that play tests.

        Only for environments whose rules change while training goes on, such as a curriculum: tests are played by the
        final ones. Others leave it out.
        """

    def close(self) -> None:
        """Frees what the environment holds; most hold nothing."""

    def describe(self) -> EnvInfo:
        """Returns the sizes, and which optional facts its steps have."""
        return EnvInfo(
            n_agents=self.n_agents,
            n_actions=self.n_actions,
            obs_dim=self.obs_dim,
            state_dim=self.state_dim,
            episode_limit=self.episode_limit,
            has_alive=self.has_alive,
            reward_per_agent=self.reward_per_agent,
            seeds_episodes=self.seeds_episodes,
        )

    def env_info(self) -> dict[str, int]:
        """Returns the sizes under EPyMARL's names."""
        return self.describe().as_epymarl()


class SingleEnv(MultiAgentEnv):
    """One copy of a batched environment behind EPyMARL's environment interface.

    Any host with ``episode`` or ``parallel`` runners can use our environments through it.

    Args:
        batched: an environment of one copy.
        common_reward: whether ``step`` returns the team's reward, or a list with every agent's.
    """

    def __init__(self, batched: BatchedEnv, common_reward: bool = True) -> None:
        if batched.num_envs != 1:
            raise ValueError(f"SingleEnv wraps one copy, got num_envs={batched.num_envs}.")
        if not common_reward and not batched.reward_per_agent:
            raise ValueError(f"{type(batched).__name__} has no reward for each agent; use common_reward=True.")
        self.batched = batched
        self.common_reward = common_reward
        self.has_alive = batched.has_alive
        self.reward_per_agent = batched.reward_per_agent
        self._alive_N = np.ones(batched.n_agents, np.bool_)
        self._reward_N = np.zeros(batched.n_agents, np.float32)
        self.n_agents = batched.n_agents
        self.episode_limit = batched.episode_limit

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[list, dict]:
        """Returns (observations, info). ``seed`` is fixed at construction, as the run's seeds are."""
        self.batched.reset()
        self._alive_N[:] = True if self.batched.alive_BN is None else self.batched.alive_BN[0]
        return self.get_obs(), {}

    def step(self, actions: Sequence[int] | np.ndarray) -> tuple[list, Any, bool, bool, dict]:
        """Returns (observations, reward, terminated, truncated, info) of one step."""
        actions_BN = np.asarray(actions, dtype=np.int64).reshape(1, self.n_agents)
        result = self.batched.step(actions_BN)
        info = {key: float(value[0]) for key, value in result.info.items()}
        truncated = bool(result.truncated_B[0])
        if truncated:
            info["episode_limit"] = True
        if result.alive_BN is not None:
            self._alive_N = result.alive_BN[0].copy()
        if result.reward_BN is not None:
            self._reward_N = result.reward_BN[0].copy()
        reward = float(result.reward_B[0]) if self.common_reward else self._reward_N.tolist()
        return self.get_obs(), reward, bool(result.terminated_B[0]), truncated, info

    def get_alive(self) -> np.ndarray:
        """Returns which agents are alive now, bool (N,)."""
        return self._alive_N

    def get_agent_rewards(self) -> np.ndarray:
        """Returns every agent's reward of the last step, float32 (N,)."""
        return self._reward_N

    def get_obs(self) -> list[np.ndarray]:
        return list(self.batched.obs_BNO[0].copy())

    def get_obs_agent(self, agent_id: int) -> np.ndarray:
        return self.batched.obs_BNO[0, agent_id].copy()

    def get_obs_size(self) -> int:
        return self.batched.obs_dim

    def get_state(self) -> np.ndarray:
        return self.batched.state_BS[0].copy()

    def get_state_size(self) -> int:
        return self.batched.state_dim

    def get_avail_actions(self) -> list[list[int]]:
        return [row.tolist() for row in self.batched.avail_BNA[0]]

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        return self.batched.avail_BNA[0, agent_id].tolist()

    def get_total_actions(self) -> int:
        return self.batched.n_actions

    def render(self, mode: str = "text") -> Any:
        return self.batched.render(0, mode)

    def for_tests(self) -> None:
        self.batched.for_tests()

    def close(self) -> None:
        self.batched.close()

    def seed(self, seed: int | None = None) -> None:
        return None

    def save_replay(self) -> None:
        """These environments have no replay format; use ``render(mode="rgb")``."""
