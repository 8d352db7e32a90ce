"""An environment in which agents die and have rewards of their own. No torch here: workers import this file."""

import numpy as np

from envs.batched import BatchedEnv, StepResult

N, LIMIT = 3, 4


class DyingEnv(BatchedEnv):
    """Agent n is dead from step n + 2 on; an episode lasts 2 + (copy % 3) steps. Agent n earns n + 1 a step."""

    rules = "dying 1"
    has_alive = reward_per_agent = True

    def __init__(self, num_envs, seed, *, forgets=""):
        self.num_envs, self.forgets = num_envs, forgets
        self.n_agents, self.n_actions, self.obs_dim, self.state_dim, self.episode_limit = N, 2, 1, 1, LIMIT
        self.obs_BNO = np.zeros((num_envs, N, 1), np.float32)
        self.state_BS = np.zeros((num_envs, 1), np.float32)
        self.avail_BNA = np.ones((num_envs, N, 2), np.uint8)
        self.length_B = 2 + np.arange(num_envs) % 3
        self.t = 0

    def reset(self):
        self.t = 0

    def step(self, actions_BN):
        runs_B = self.t < self.length_B
        self.t += 1
        over_B = runs_B & (self.t == self.length_B)
        alive_BN = np.tile(np.arange(N) + 2 > self.t, (self.num_envs, 1))
        reward_BN = np.outer(runs_B, np.arange(N) + 1).astype(np.float32)
        none_B = np.zeros_like(over_B)
        given = {"alive_BN": alive_BN, "reward_BN": reward_BN}
        given.pop(self.forgets, None)
        return StepResult(reward_BN.sum(1), over_B, none_B, {}, **given)

    def state_dict(self):
        return {"t": np.array(self.t)}

    def load_state_dict(self, state):
        self.t = int(state["t"])
