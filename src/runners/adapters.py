"""One environment of EPyMARL's interface seen as a ``BatchedEnv`` of a single copy.

Imported by environment processes as well: nothing here may import torch.
"""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np

from envs.batched import BatchedEnv, SingleEnv, StepResult
from envs.multiagentenv import MultiAgentEnv
from envs.scene import Scene


class OneEnv(BatchedEnv):
    """A batch of one around any ``MultiAgentEnv``.

    Args:
        env: the environment; its own ``reset`` and ``step`` are called, nothing else changes it.
    """

    def __init__(self, env: MultiAgentEnv) -> None:
        self.env: Any = env
        sizes = env.get_env_info()
        self.num_envs = 1
        self.n_agents = sizes["n_agents"]
        self.n_actions = sizes["n_actions"]
        self.episode_limit = sizes["episode_limit"]
        self.obs_dim = int(np.prod(sizes["obs_shape"]))
        self.state_dim = int(np.prod(sizes["state_shape"]))
        self.obs_BNO = np.zeros((1, self.n_agents, self.obs_dim), np.float32)
        self.state_BS = np.zeros((1, self.state_dim), np.float32)
        self.avail_BNA = np.zeros((1, self.n_agents, self.n_actions), np.uint8)
        self.has_alive = bool(getattr(env, "has_alive", False))
        self.reward_per_agent = bool(getattr(env, "reward_per_agent", False))
        self.seeds_episodes = bool(getattr(env, "seeds_episodes", False))
        self._views = getattr(env, "views", self._views_one_by_one)
        self._next_seed: int | None = None

    def _observe(self) -> None:
        obs, state, avail = self._views()
        self.obs_BNO[0] = np.asarray(obs, np.float32).reshape(self.n_agents, self.obs_dim)
        self.state_BS[0] = np.asarray(state, np.float32).reshape(self.state_dim)
        self.avail_BNA[0] = avail

    def _views_one_by_one(self) -> tuple[Any, Any, Any]:
        return self.env.get_obs(), self.env.get_state(), self.env.get_avail_actions()

    def _alive(self) -> np.ndarray | None:
        return np.array([self.env.get_alive()], np.bool_) if self.has_alive else None

    def seed_next(self, seed: int) -> None:
        """Lets the next episode follow from a seed alone; only where ``seeds_episodes`` says so."""
        self._next_seed = seed

    def reset(self) -> None:
        self.env.reset(seed=self._next_seed) if self._next_seed is not None else self.env.reset()
        self._next_seed = None
        self._observe()
        self.alive_BN = self._alive()

    def step(self, actions_BN: np.ndarray) -> StepResult:
        """Moves the environment by one step.

        An environment tells a time limit by ``truncated`` or, as SMAC does, by ``info["episode_limit"]``
        beside ``terminated``; both count as truncated here.
        """
        _, reward, terminated, truncated, info = self.env.step(actions_BN[0])
        is_cut = bool(truncated) or bool(info.get("episode_limit", False))
        is_over = bool(terminated) or bool(truncated)
        self._observe()
        self.alive_BN = self._alive()
        return StepResult(
            np.array([reward], np.float32),
            np.array([is_over and not is_cut]),
            np.array([is_over and is_cut]),
            {
                key: np.array([value], np.float32)
                for key, value in info.items()
                if key != "episode_limit" and isinstance(value, Number | np.bool_)
            },
            alive_BN=self.alive_BN,
            reward_BN=np.array([self.env.get_agent_rewards()], np.float32) if self.reward_per_agent else None,
        )

    def _saved(self) -> Any:
        """Returns what can save and restore this environment, or None."""
        target = self.env.batched if isinstance(self.env, SingleEnv) else self.env
        return target if hasattr(target, "state_dict") and hasattr(target, "load_state_dict") else None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Returns the environment's state; empty for one that cannot be saved (a game engine)."""
        target = self._saved()
        return {} if target is None else target.state_dict()

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restores what ``state_dict`` returned; what cannot be saved goes on from its seed."""
        target = self._saved()
        if target is not None:
            target.load_state_dict(state)

    @property
    def rules(self) -> str:
        target = self.env.batched if isinstance(self.env, SingleEnv) else self.env
        return str(getattr(target, "rules", type(target).__name__))

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        return self.env.render(mode) if isinstance(self.env, SingleEnv) else self.env.render()

    def scene(self, copy: int = 0) -> Scene | None:
        return self.env.batched.scene(0) if isinstance(self.env, SingleEnv) else None

    def for_tests(self) -> None:
        if hasattr(self.env, "for_tests"):  # not every environment derives from MultiAgentEnv
            self.env.for_tests()

    def close(self) -> None:
        self.env.close()
