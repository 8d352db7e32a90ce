"""Vote: every agent sees one bit, and the reward comes only if all of them name the majority's."""

from __future__ import annotations

import numpy as np

from envs.batched import BatchedEnv, StepResult
from epymarl_lmac.errors import TaskError


class VoteEnv(BatchedEnv):
    """B games of one episode length, stepped as arrays. Without messages the best expected return is one half.

    Args:
        num_envs: B.
        seed: of the generator that draws the bits.
        players: N, odd, at least 3.
        steps: length of an episode; the bits stay, every step with the right answer by all pays 1 / steps.

    Raises:
        TaskError: impossible settings.
    """

    rules = "vote 1"

    def __init__(self, num_envs: int, seed: int, *, players: int, steps: int) -> None:
        if players < 3 or players % 2 == 0 or steps < 1:
            raise TaskError(
                f"vote: players={players}, steps={steps}; choose an odd number from 3 on, and 1 step or more."
            )
        self.num_envs, self.n_agents, self.n_actions, self.episode_limit = num_envs, players, 2, steps
        self.obs_dim, self.state_dim = 1, players
        self._rng = np.random.default_rng(seed)
        self._bits = np.zeros((num_envs, players), np.int64)
        self._t = steps  # all copies have ended
        self.obs_BNO = np.zeros((num_envs, players, 1), np.float32)
        self.state_BS = np.zeros((num_envs, players), np.float32)
        self.avail_BNA = np.ones((num_envs, players, 2), np.uint8)

    def reset(self) -> None:
        self._bits = self._rng.integers(0, 2, self._bits.shape)
        self._t = 0
        self._write()

    def _write(self) -> None:
        self.obs_BNO[..., 0] = self._bits
        self.state_BS[:] = self._bits

    def step(self, actions_BN: np.ndarray) -> StepResult:
        is_running = self._t < self.episode_limit
        majority_B = 2 * self._bits.sum(1) > self.n_agents
        is_right = (actions_BN == majority_B[:, None]).all(1) & is_running
        self._t += int(is_running)
        over = np.full(self.num_envs, is_running and self._t == self.episode_limit)
        return StepResult(is_right.astype(np.float32) / self.episode_limit, over, np.zeros_like(over), {})

    def state_dict(self) -> dict[str, np.ndarray]:
        generator = self._rng.bit_generator.state
        words = [part for n in generator["state"].values() for part in (n >> 64, n & (2**64 - 1))]
        words += [generator["has_uint32"], generator["uinteger"]]  # half a draw may be left over
        return {"rng": np.array(words, np.uint64), "bits": self._bits.copy(), "t": np.array(self._t)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in state["rng"])
        self._rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }
        self._bits, self._t = state["bits"].copy(), int(state["t"])
        self._write()
