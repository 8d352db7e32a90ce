"""Lookout: one agent sees which of K targets is right, and the reward comes only if every agent goes there.

The smallest task that cannot be solved without communication and is trivial with it: the test bench of every
communication method. Its optimum is known, see ``epymarl_lmac.tasks.lookout.optimum``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.batched import BatchedEnv, StepResult
from epymarl_lmac.tasks.lookout import LookoutSettings


class LookoutEnv(BatchedEnv):
    """B games of lookout.

    Every step all agents name a target (K actions). The team gets 1 / steps if all name the right one, else 0. The
    right target stays for the episode. The scout's observation is what it sees of the target, one-hot (a wrong one
    with probability ``noise``, drawn once an episode), and whether it is the scout; the others see zeros.

    Args:
        num_envs: B.
        seed: every copy draws from its own stream derived from it.
        players: N, at least 2.
        targets: K, at least 2.
        steps: length of every episode.
        noise: probability that the scout sees a wrong target, in [0, 1].
        random_scout: whether the scout is drawn anew each episode (True) or always agent 0.
        time_limit_terminates: whether the last step reports a termination (True) or a truncation.

    Raises:
        TaskError: impossible settings.
    """

    def __init__(self, num_envs: int, seed: int, **env_args: Any) -> None:
        self.settings = LookoutSettings.of(env_args)
        self.num_envs, self.n_agents = num_envs, self.settings.players
        self.n_actions = K = self.settings.targets
        self.episode_limit = self.settings.steps
        self.obs_dim = K + 1
        self.state_dim = K + self.n_agents
        streams = np.random.SeedSequence(seed).spawn(num_envs)
        self._rngs = [np.random.Generator(np.random.PCG64(s)) for s in streams]
        self._target = np.zeros(num_envs, dtype=np.int64)
        self._seen = np.zeros(num_envs, dtype=np.int64)
        self._scout = np.zeros(num_envs, dtype=np.int64)
        self._t = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.ones(num_envs, dtype=bool)
        self.obs_BNO = np.zeros((num_envs, self.n_agents, self.obs_dim), dtype=np.float32)
        self.state_BS = np.zeros((num_envs, self.state_dim), dtype=np.float32)
        self.avail_BNA = np.ones((num_envs, self.n_agents, K), dtype=np.uint8)

    @property
    def rules(self) -> str:
        return "lookout 1"

    def reset(self) -> None:
        K, N, noise = self.n_actions, self.n_agents, self.settings.noise
        for b, rng in enumerate(self._rngs):
            target, misled, other, scout = (
                rng.integers(K),
                rng.random() < noise,
                rng.integers(1, K),
                rng.integers(N),
            )
            self._target[b] = target
            self._seen[b] = (target + other) % K if misled else target
            self._scout[b] = scout if self.settings.random_scout else 0
        self._t[:] = 0
        self._ended[:] = False
        self._write()

    def _write(self) -> None:
        """Writes observations and states; they do not change within an episode."""
        copies = np.arange(self.num_envs)
        K = self.n_actions
        self.obs_BNO[:] = 0
        self.obs_BNO[copies, self._scout, self._seen] = 1
        self.obs_BNO[copies, self._scout, K] = 1
        self.state_BS[:] = 0
        self.state_BS[copies, self._target] = 1
        self.state_BS[copies, K + self._scout] = 1

    def step(self, actions_BN: np.ndarray) -> StepResult:
        running = ~self._ended
        right = (actions_BN == self._target[:, None]).all(axis=1) & running
        self._t[running] += 1
        over = running & (self._t >= self.episode_limit)
        self._ended |= over
        reward = right.astype(np.float32) / np.float32(self.episode_limit)
        none = np.zeros(self.num_envs, dtype=bool)
        terminates = self.settings.time_limit_terminates
        return StepResult(reward, over if terminates else none, none if terminates else over, {})

    def state_dict(self) -> dict[str, np.ndarray]:
        words = []
        for rng in self._rngs:
            state = rng.bit_generator.state
            numbers = [state["state"]["state"], state["state"]["inc"]]
            halves = [part for n in numbers for part in (n >> 64, n & (2**64 - 1))]
            words.append([*halves, state["has_uint32"], state["uinteger"]])
        return {
            "rng": np.array(words, dtype=np.uint64),
            "target": self._target.copy(),
            "seen": self._seen.copy(),
            "scout": self._scout.copy(),
            "t": self._t.copy(),
            "ended": self._ended.copy(),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        for rng, row in zip(self._rngs, state["rng"], strict=True):
            high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in row)
            rng.bit_generator.state = {
                "bit_generator": "PCG64",
                "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
                "has_uint32": has_uint32,
                "uinteger": uinteger,
            }
        self._target[:], self._seen[:] = state["target"], state["seen"]
        self._scout[:], self._t[:], self._ended[:] = state["scout"], state["t"], state["ended"]
        self._write()

    def render(self, copy: int = 0, mode: str = "text") -> Any:
        if mode == "text":
            return (
                f"target {self._target[copy]} of {self.n_actions}; agent {self._scout[copy]} sees "
                f"{self._seen[copy]}; step {self._t[copy]} of {self.episode_limit}"
            )
        return super().render(copy, mode)
